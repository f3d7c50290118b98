"""Tables that map the weight names of Mask2Former to ours, for the layouts of Hugging Face and Detectron2.

Some weights are stored in several parts. These have our name and a number after "#", and are concatenated in
this order.
"""

from ovrcoat.checkpoints.published_names import PUBLISHED_NAMES

Table = tuple[tuple[str, str], ...]

# Weights that the network does not need: pattern → reason.
DROPPED: Table = (
    (r"criterion\.empty_weight|.+\.criterion\.empty_weight", "class weights of the training loss"),
    (r"model\.pixel_level_module\.encoder\.(?:swin\.)?layernorm\..+", "norm of Swin's own classifier"),
    (r".+\.relative_position_index", "positions, which follow from the window size"),
    (r"pixel_mean|pixel_std", "constants that are part of the network"),
)

_ENCODER = r"model\.pixel_level_module\.encoder\."
_PIXEL = r"model\.pixel_level_module\.decoder\."
_PIXEL_LAYER = _PIXEL + r"encoder\.layers\.(\d+)\."
_MASK = r"model\.transformer_module\."
_MASK_LAYER = _MASK + r"decoder\.layers\.(\d+)\."


def _swin(stage: int) -> tuple[Table, Table]:
    """Return the names of a stage of Swin in both layouts. Ours are torchvision's."""
    blocks, merging = rf"backbone.features.{2 * stage + 1}.\1.", f"backbone.features.{2 * stage + 2}."
    block = _ENCODER + rf"(?:swin\.)?encoder\.layers\.{stage}\.blocks\.(\d+)\."
    attention = block + r"attention\.self\."
    hugging_face = (
        (block + r"layernorm_before\.(.+)", blocks + r"norm1.\2"),
        (block + r"layernorm_after\.(.+)", blocks + r"norm2.\2"),
        *(
            (attention + part + r"\.(weight|bias)", blocks + rf"attn.qkv.\2#{index}")
            for index, part in enumerate(("query", "key", "value"))
        ),
        (attention + "relative_position_bias_table", blocks + "attn.relative_position_bias_table"),
        (block + r"attention\.output\.dense\.(.+)", blocks + r"attn.proj.\2"),
        (block + r"intermediate\.dense\.(.+)", blocks + r"mlp.0.\2"),
        (block + r"output\.dense\.(.+)", blocks + r"mlp.3.\2"),
        (_ENCODER + rf"(?:swin\.)?encoder\.layers\.{stage}\.downsample\.(.+)", merging + r"\1"),
        (_ENCODER + rf"hidden_states_norms\.stage{stage + 1}\.(.+)", rf"backbone.norms.{stage}.\1"),
    )
    block = rf"backbone\.layers\.{stage}\.blocks\.(\d+)\."
    detectron2 = (
        (block + r"mlp\.fc1\.(.+)", blocks + r"mlp.0.\2"),
        (block + r"mlp\.fc2\.(.+)", blocks + r"mlp.3.\2"),
        (block + r"((?:norm1|norm2|attn)\..+)", blocks + r"\2"),
        (rf"backbone\.layers\.{stage}\.downsample\.(.+)", merging + r"\1"),
        (rf"backbone\.norm{stage}\.(.+)", rf"backbone.norms.{stage}.\1"),
    )
    return hugging_face, detectron2


_SWIN = [_swin(stage) for stage in range(4)]
_PATCHES = _ENCODER + r"(?:swin\.)?embeddings\."
_RESNET_LAYER = _ENCODER + r"encoder\.stages\.(\d)\.layers\.(\d+)\."

HUGGING_FACE_NAMES: Table = (
    (_PATCHES + r"patch_embeddings\.projection\.(.+)", r"backbone.features.0.0.\1"),
    (_PATCHES + r"norm\.(.+)", r"backbone.features.0.2.\1"),
    *(entry for hugging_face, _ in _SWIN for entry in hugging_face),
    (_ENCODER + r"embedder\.embedder\.convolution\.(.+)", r"backbone.stem.0.\1"),
    (_ENCODER + r"embedder\.embedder\.normalization\.(.+)", r"backbone.stem.1.\1"),
    (_RESNET_LAYER + r"shortcut\.convolution\.(.+)", r"backbone.stages.\1.\2.downsample.0.\3"),
    (_RESNET_LAYER + r"shortcut\.normalization\.(.+)", r"backbone.stages.\1.\2.downsample.1.\3"),
    *(
        (_RESNET_LAYER + rf"layer\.{index}\.{theirs}\.(.+)", rf"backbone.stages.\1.\2.{ours}{index + 1}.\3")
        for index in range(3)
        for theirs, ours in (("convolution", "conv"), ("normalization", "bn"))
    ),
    (_PIXEL + "level_embed", "pixel_decoder.level_embedding"),
    (_PIXEL + r"((?:input_projections|mask_projection)\..+)", r"pixel_decoder.\1"),
    (_PIXEL + r"adapter_1\.(.+)", r"pixel_decoder.lateral.\1"),
    (_PIXEL + r"layer_1\.(.+)", r"pixel_decoder.output.\1"),
    (_PIXEL_LAYER + r"self_attn\.(.+)", r"pixel_decoder.layers.\1.attention.\2"),
    (_PIXEL_LAYER + r"self_attn_layer_norm\.(.+)", r"pixel_decoder.layers.\1.norm.\2"),
    (_PIXEL_LAYER + r"fc([12])\.(.+)", r"pixel_decoder.layers.\1.feed_forward.linear\2.\3"),
    (_PIXEL_LAYER + r"final_layer_norm\.(.+)", r"pixel_decoder.layers.\1.feed_forward.norm.\2"),
    (_MASK + r"queries_features\.weight", "mask_decoder.query_features"),
    (_MASK + r"queries_embedder\.weight", "mask_decoder.query_positions"),
    (_MASK + r"level_embed\.weight", "mask_decoder.level_embedding"),
    (_MASK_LAYER + r"cross_attn\.(.+)", r"mask_decoder.cross_attention.\1.attention.\2"),
    (_MASK_LAYER + r"cross_attn_layer_norm\.(.+)", r"mask_decoder.cross_attention.\1.norm.\2"),
    *(
        (
            _MASK_LAYER + rf"self_attn\.{part}_proj\.(weight|bias)",
            rf"mask_decoder.self_attention.\1.attention.in_proj_\2#{index}",
        )
        for index, part in enumerate("qkv")
    ),
    (_MASK_LAYER + r"self_attn\.out_proj\.(.+)", r"mask_decoder.self_attention.\1.attention.out_proj.\2"),
    (_MASK_LAYER + r"self_attn_layer_norm\.(.+)", r"mask_decoder.self_attention.\1.norm.\2"),
    (_MASK_LAYER + r"fc([12])\.(.+)", r"mask_decoder.feed_forward.\1.linear\2.\3"),
    (_MASK_LAYER + r"final_layer_norm\.(.+)", r"mask_decoder.feed_forward.\1.norm.\2"),
    (_MASK + r"decoder\.layernorm\.(.+)", r"mask_decoder.norm.\1"),
    (
        _MASK + r"decoder\.mask_predictor\.mask_embedder\.(\d)\.0\.(.+)",
        r"mask_decoder.mask_head.layers.\1.\2",
    ),
    (r"class_predictor\.(.+)", r"mask_decoder.embedding_head.\1"),
)

DETECTRON2_NAMES: Table = (
    (r"backbone\.patch_embed\.proj\.(.+)", r"backbone.features.0.0.\1"),
    (r"backbone\.patch_embed\.norm\.(.+)", r"backbone.features.0.2.\1"),
    *(entry for _, detectron2 in _SWIN for entry in detectron2),
    (r"backbone\.stem\.conv1\.norm\.(.+)", r"backbone.stem.1.\1"),
    (r"backbone\.stem\.conv1\.(.+)", r"backbone.stem.0.\1"),
    *(
        (rf"backbone\.res{stage + 2}\.(\d+)\.{theirs}\.(.+)", rf"backbone.stages.{stage}.\1.{ours}.\2")
        for stage in range(4)
        for theirs, ours in (
            (r"shortcut\.norm", "downsample.1"),
            ("shortcut", "downsample.0"),
            *((rf"conv{index}\.norm", f"bn{index}") for index in (1, 2, 3)),
            *((f"conv{index}", f"conv{index}") for index in (1, 2, 3)),
        )
    ),
    # both decoders have the names that FC-CLIP, which was built on this code, has kept
    *((pattern, ours) for pattern, ours in PUBLISHED_NAMES if pattern.startswith(r"sem_seg_head\.")),
)
