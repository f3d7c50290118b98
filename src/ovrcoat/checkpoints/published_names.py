"""Tables that map weight names of the released code (FC-CLIP, OVRCOAT, MAFT+) and of OpenCLIP to ours.

Each entry is a pattern that must match a whole key, and our name for it. The first match is used.
"""

import re

# Weights in released files that the network does not need: pattern → reason.
DROPPED = (
    (r"criterion\.empty_weight", "class weights of the training loss"),
    (r"frozen_backbone\..+", "a second copy of the original CLIP, on which no result depends"),
    (r"backbone_t\..+", "a second copy of the original CLIP, which only a training loss of MAFT+ reads"),
    (r"pixel_mean|pixel_std", "constants that are part of the encoder"),
)

CLIP_NAMES = (
    (r"logit_(scale|bias)", r"encoder.logit_\1"),
    (r"text\.(.+)", r"encoder.text_tower.model.\1"),  # of OpenCLIP's models with "custom_text"
    (r"visual\.trunk\.head\.norm\.(.+)", r"encoder.head_norm.\1"),
    (r"visual\.head\.mlp\.fc1\.(.+)", r"encoder.head_projection.0.\1"),
    (r"visual\.head\.mlp\.fc2\.(.+)", r"encoder.head_projection.2.\1"),
    (r"visual\.head\.proj\.(.+)", r"encoder.head_projection.\1"),
    (r"visual\.(?:trunk\.)?(.+)", r"encoder.visual_trunk.\1"),
    (r"(positional_embedding|text_projection)", r"encoder.text_tower.\1"),
    (r"((?:token_embedding|ln_final|transformer)\..+)", r"encoder.text_tower.\1"),
)

_PIXEL = r"sem_seg_head\.pixel_decoder\."
_PIXEL_LAYER = _PIXEL + r"transformer\.encoder\.layers\.(\d+)\."
_MASK = r"sem_seg_head\.predictor\."

PUBLISHED_NAMES = (
    (_PIXEL + r"input_proj\.(.+)", r"pixel_decoder.input_projections.\1"),
    (_PIXEL + r"transformer\.level_embed", "pixel_decoder.level_embedding"),
    (_PIXEL_LAYER + r"self_attn\.(.+)", r"pixel_decoder.layers.\1.attention.\2"),
    (_PIXEL_LAYER + r"norm1\.(.+)", r"pixel_decoder.layers.\1.norm.\2"),
    (_PIXEL_LAYER + r"norm2\.(.+)", r"pixel_decoder.layers.\1.feed_forward.norm.\2"),
    (_PIXEL_LAYER + r"(linear[12]\..+)", r"pixel_decoder.layers.\1.feed_forward.\2"),
    (_PIXEL + r"adapter_1\.norm\.(.+)", r"pixel_decoder.lateral.1.\1"),
    (_PIXEL + r"adapter_1\.(.+)", r"pixel_decoder.lateral.0.\1"),
    (_PIXEL + r"layer_1\.norm\.(.+)", r"pixel_decoder.output.1.\1"),
    (_PIXEL + r"layer_1\.(.+)", r"pixel_decoder.output.0.\1"),
    (_PIXEL + r"mask_features\.(.+)", r"pixel_decoder.mask_projection.\1"),
    (_MASK + r"query_feat\.weight", "mask_decoder.query_features"),
    (_MASK + r"query_embed\.weight", "mask_decoder.query_positions"),
    (_MASK + r"level_embed\.weight", "mask_decoder.level_embedding"),
    (
        _MASK + r"transformer_cross_attention_layers\.(\d+)\.multihead_attn\.(.+)",
        r"mask_decoder.cross_attention.\1.attention.\2",
    ),
    (_MASK + r"transformer_cross_attention_layers\.(\d+)\.(norm\..+)", r"mask_decoder.cross_attention.\1.\2"),
    (
        _MASK + r"transformer_self_attention_layers\.(\d+)\.self_attn\.(.+)",
        r"mask_decoder.self_attention.\1.attention.\2",
    ),
    (_MASK + r"transformer_self_attention_layers\.(\d+)\.(norm\..+)", r"mask_decoder.self_attention.\1.\2"),
    (_MASK + r"transformer_ffn_layers\.(.+)", r"mask_decoder.feed_forward.\1"),
    (_MASK + r"decoder_norm\.(.+)", r"mask_decoder.norm.\1"),
    (_MASK + r"mask_embed\.(.+)", r"mask_decoder.mask_head.\1"),
    (_MASK + r"_mask_pooling_proj\.(.+)", r"mask_decoder.pooled_projection.\1"),
    (_MASK + r"class_embed\.(.+)", r"mask_decoder.embedding_head.\1"),
    (_MASK + r"logit_scale", "text_classifier.logit_scale"),
    (r"void_embedding\.weight", "text_classifier.void_embedding"),
    (r"cdt\.cross_atten\.multihead_attn\.(.+)", r"text_transfer.attention.\1"),
    (r"cdt\.cross_atten\.MLP\.(.+)", r"text_transfer.linear.\1"),
    (r"cdt\.cross_atten\.norm\.(.+)", r"text_transfer.norm.\1"),
    *((rf"backbone\.clip_model\.{pattern}", ours) for pattern, ours in CLIP_NAMES),
)


def our_name(key: str, table: tuple[tuple[str, str], ...]) -> str | None:
    """Return our name for `key`, or None if no entry of the table matches."""
    for pattern, ours in table:
        if match := re.fullmatch(pattern, key):
            return match.expand(ours)
    return None


def reason_to_drop(key: str) -> str | None:
    """Return why `key` is dropped, or None if it is not."""
    return next((reason for pattern, reason in DROPPED if re.fullmatch(pattern, key)), None)
