"""SigLIP compared with OpenCLIP's own model, its probabilities, and a whole network around it."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ovrcoat.checkpoints.foreign import clip_encoder_state
from ovrcoat.checkpoints.published_names import CLIP_NAMES, our_name
from ovrcoat.config import (
    OpenClipConfig,
)
from ovrcoat.errors import ConfigError
from ovrcoat.model.encoders import siglip
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS, OpenClipModel
from ovrcoat.model.network import build_encoder
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.structures import CategoryEmbeddings, ImageBatch, MaskPredictions, ScoredMasks
from tiny_open_clip import assert_a_checkpoint_segments_as_before, tiny_model

NAMES = [name for name, model in OPEN_CLIP_MODELS.items() if model.module == "siglip"]
PIECES = ("<pad>", "</s>", "<unk>", "▁a", "▁photo", "▁of", "▁cat", "▁dog", "▁sky")
SIDE = 64
MODEL = tiny_model(embedding_dim=64)


@pytest.fixture
def tokenizer_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tokenizer of SigLIP's kind, in the cache of Hugging Face."""
    pieces = Tokenizer(models.Unigram([(piece, -float(rank)) for rank, piece in enumerate(PIECES)], unk_id=2))
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    path = tmp_path / "tokenizer.json"
    pieces.save(str(path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: str(path))
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tokenizer_file: Path) -> None:
    settings = {"training_side": SIDE, "layers": 1, "vocabulary_size": len(PIECES)}
    entry = OpenClipModel("siglip", embedding_dim=64, settings=settings, tag="none", license="none")
    monkeypatch.setitem(OPEN_CLIP_MODELS, "tiny", entry)


@torch.inference_mode()
def test_embeddings_and_logits_equal_openclip(tmp_path: Path, tokenizer_file: Path):
    torch.manual_seed(0)
    config = open_clip.get_model_config("ViT-B-16-SigLIP")
    text = config["text_cfg"] | {"layers": 1, "vocab_size": len(PIECES)}
    theirs = open_clip.CustomTextCLIP(768, config["vision_cfg"], text, init_logit_bias=-10).eval()
    del theirs.visual.trunk.blocks[1:]  # one layer of each tower is enough
    theirs.logit_bias.fill_(-3)
    torch.save(theirs.state_dict(), tmp_path / "clip.pt")
    encoder = siglip.build(training_side=224, layers=1, embedding_dim=768, vocabulary_size=len(PIECES)).eval()
    encoder.load_state_dict(clip_encoder_state("ViT-B-16-SigLIP", file=tmp_path / "clip.pt"))

    pixels = torch.rand(1, 3, 224, 224)
    features = encoder(ImageBatch(pixels=pixels * 255, valid_sizes=((224, 224),)))
    masks = encoder.embed_masks(features.clip_features, torch.ones(1, 1, 56, 56))
    images = theirs.encode_image(2 * pixels - 1)
    assert images.std() > 1e-3
    torch.testing.assert_close(masks.embeddings[:, 0], images, atol=1e-5, rtol=1e-4)

    texts = ["a photo of a Cat.", "a photo of a dog", "sky"]
    ids = torch.tensor([encoder.text_tower.token_ids(sentence) for sentence in texts])
    embedded = encoder.embed_texts(texts)
    torch.testing.assert_close(embedded, theirs.encode_text(ids), atol=1e-5, rtol=1e-4)

    units = torch.nn.functional.normalize(embedded, dim=-1)
    logits = encoder.classify(masks.embeddings, CategoryEmbeddings.shared(units, torch.arange(3), 3))
    expected, _ = theirs.get_logits(2 * pixels - 1, ids)
    torch.testing.assert_close(logits[0], expected, atol=1e-4, rtol=1e-4)


def test_token_ids_equal_openclip(tmp_path: Path, tokenizer_file: Path):
    transformers = pytest.importorskip("transformers")
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_file), eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "folder")
    theirs = open_clip.tokenizer.HFTokenizer(
        str(tmp_path / "folder"), context_length=64, clean="canonicalize"
    )
    with torch.device("meta"):
        tower = siglip.build(training_side=SIDE, layers=1, embedding_dim=64).text_tower
    for text in ("a photo of a Cat.", "sky", "dog " * 100, "", "kitten_cat"):
        assert tower.token_ids(text) == theirs(text)[0].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_the_table_equals_openclip(name: str):
    config, ours = open_clip.get_model_config(name), OPEN_CLIP_MODELS[name]
    text, layers = config["text_cfg"], ours.settings["layers"]
    assert (config["embed_dim"], text["width"], 64 * text["heads"]) == (ours.embedding_dim,) * 3
    assert (text["layers"], text["vocab_size"], text["context_length"]) == (layers, 32_000, 64)
    assert text["hf_tokenizer_name"] == siglip.TOKENIZER
    assert config["vision_cfg"]["image_size"] == ours.settings["training_side"]
    weights = open_clip.pretrained.get_pretrained_cfg(name, ours.tag)
    assert [127.5 * 2 * part for part in weights["mean"] + weights["std"]] == [127.5] * 6


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP-384", "ViT-L-16-SigLIP-256"])
def test_all_weights_have_a_place(name: str):
    config = {key: value for key, value in open_clip.get_model_config(name).items() if key != "custom_text"}
    with torch.device("meta"):
        theirs = open_clip.CustomTextCLIP(**config).state_dict()
        ours = build_encoder(OpenClipConfig(name=name, embedding_dim=OPEN_CLIP_MODELS[name].embedding_dim))
    renamed = {str(our_name(key, CLIP_NAMES)): value.shape for key, value in theirs.items()}
    assert renamed == {f"encoder.{key}": value.shape for key, value in ours.state_dict().items()}


def test_the_tokenizer_is_never_downloaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: None)
    with pytest.raises(ConfigError, match=r"hf download timm/ViT-B-16-SigLIP tokenizer\.json"):
        siglip.SiglipTokenizer().encode("cat")


@pytest.mark.usefixtures("tiny")
@torch.inference_mode()
def test_an_embedding_depends_on_the_patches_under_the_mask_alone():
    torch.manual_seed(0)
    encoder = build_encoder(MODEL.encoder).eval()
    features = torch.randn(1, 64, 4, 8)
    masks = torch.full((1, 3, 16, 32), -1.0)
    masks[0, 0, :, :16] = 1
    masks[0, 1, :, 16:] = 1  # the third mask is empty
    before = encoder.embed_masks(features, masks)
    features[..., 4:] += 1
    after = encoder.embed_masks(features, masks)
    changed = (before.embeddings - after.embeddings).abs().amax(-1)[0] > 1e-5
    assert changed.tolist() == [False, True, False]
    assert before.valid_mask.tolist() == [[True, True, False]]
    assert after.embeddings.isfinite().all()


def score(encoder: siglip.SiglipEncoder, logits: torch.Tensor) -> ScoredMasks:
    """Score masks by SigLIP alone (alpha and beta 1), with objectness 0.5 before COAT."""
    queries, categories = logits.shape
    predictions = MaskPredictions(
        mask_logits=torch.zeros(1, queries, 2, 2),
        in_vocab_logits=torch.zeros(1, queries, categories),
        void_logits=torch.full((1, queries), categories).log(),
        out_vocab_logits=logits[None],
        valid_mask=torch.ones(1, queries, dtype=torch.bool),
        clip_confidence=encoder.confidence(logits[None]),
    )
    seen = torch.ones(categories, dtype=torch.bool)
    return score_masks(
        predictions, 0, seen=seen, alpha=1.0, beta=1.0, trust=0.5, ensemble_on_valid_mask=False
    )


@pytest.mark.usefixtures("tiny")
class TestProbabilities:
    @torch.inference_mode()
    def test_the_bias_changes_the_confidence_but_not_the_category(self):
        torch.manual_seed(0)
        encoder = build_encoder(MODEL.encoder)
        units = torch.nn.functional.normalize(torch.randn(4, 64), dim=-1)
        categories = CategoryEmbeddings.shared(units, torch.tensor([0, 1, 1, 2]), 3)
        embeddings = torch.randn(5, 64)
        scored = []
        for bias in (-10.0, 2.0):
            encoder.logit_bias.fill_(bias)
            scored.append(score(encoder, encoder.classify(embeddings, categories)))
        low, high = scored
        torch.testing.assert_close(low.category_probs, high.category_probs)
        assert (low.clip_confidence < high.clip_confidence).all()
        assert (low.objectness < high.objectness).all()

    def test_with_one_category_the_confidence_is_not_1(self):
        scored = score(build_encoder(MODEL.encoder), torch.tensor([[-4.0], [4.0]]))
        assert scored.category_probs.tolist() == [[1.0], [1.0]]
        torch.testing.assert_close(scored.clip_confidence, torch.tensor([-4.0, 4.0]).sigmoid())
        torch.testing.assert_close(scored.objectness, 1 - 0.5 * (1 - 0.5 * scored.clip_confidence))

    def test_more_categories_never_lower_the_confidence(self):
        encoder = build_encoder(MODEL.encoder)
        logits = torch.cat([torch.tensor([[1.0, -2.0]]), torch.full((1, 100_000), -8.0)], dim=1)
        few, many = score(encoder, logits[:, :2]), score(encoder, logits)
        assert torch.equal(few.clip_confidence, many.clip_confidence)
        assert many.category_probs[0, 0] < few.category_probs[0, 0]  # the softmax shares among all
        assert many.category_probs.sum().item() == pytest.approx(1, abs=1e-3)  # of 100,002 rounded numbers

    def test_extreme_logits_stay_finite(self):
        scored = score(build_encoder(MODEL.encoder), torch.tensor([[-200.0, -130.0], [110.0, -130.0]]))
        assert scored.category_probs.isfinite().all()
        assert scored.clip_confidence.tolist() == [0.0, 1.0]
        assert scored.objectness.tolist() == pytest.approx([0.5, 0.75])


@pytest.mark.usefixtures("tiny")
def test_a_checkpoint_segments_as_before(tmp_path: Path, image_pixels: np.ndarray):
    assert_a_checkpoint_segments_as_before(MODEL, tmp_path / "siglip.safetensors", image_pixels)
