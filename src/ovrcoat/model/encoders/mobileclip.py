"""Apple's MobileCLIP and MobileCLIP2: timm's FastViT and a text tower without causal mask."""

from functools import partial

from ovrcoat.model.encoders.padded_text import ClipTokenizer, PaddedTextTower
from ovrcoat.model.encoders.timm_encoder import TimmEncoder

Stages = tuple[int, int, int, int]  # one number per stage


def build(
    *, depths: Stages, widths: Stages, embedding_dim: int, text_width: int = 512, text_layers: int = 12
) -> TimmEncoder:
    """Build a MobileCLIP with random weights.

    Args:
        depths: blocks of each stage of the trunk.
        widths: channels of each stage.
        embedding_dim: dimension of the common space.
        text_width: of the text tower; the default is that of the released models.
        text_layers: of the text tower; likewise.
    """
    from open_clip.transformer import TextTransformer
    from timm.models.fastvit import FastVit, RepConditionalPosEnc

    trunk = FastVit(
        layers=depths,
        embed_dims=widths,
        num_classes=embedding_dim,
        # common to timm's fastvit_mci0, fastvit_mci1 and fastvit_mci2
        mlp_ratios=(3, 3, 3, 3),
        se_downsamples=(False, False, True, True),
        pos_embs=(None, None, None, partial(RepConditionalPosEnc, spatial_shape=(7, 7))),
        token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
        lkc_use_act=True,
    )
    text = TextTransformer(
        width=text_width,
        heads=text_width // 64,
        layers=text_layers,
        output_dim=embedding_dim,
        no_causal_mask=True,
    )
    return TimmEncoder(
        trunk,
        PaddedTextTower(text, ClipTokenizer()),
        embedding_dim=embedding_dim,
        training_side=256,
        mean=(0.0, 0.0, 0.0),  # trained on RGB values in 0..1
        deviation=(255.0, 255.0, 255.0),
    )
