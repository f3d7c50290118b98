"""Compute the network arrays of a recording: tables from a pattern of array names to a function."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.model.encoders.clip_masks import resize_logits
from ovrcoat.model.similarity import cosine_logits, max_over_names
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles
from ovrcoat.structures import Encoding, MaskEmbeddings, MaskPredictions, PixelFeatures
from ovrcoat.vocabulary import Vocabulary
from parity_compare import (
    MEAN_TOLERANCE,
    TEXT_MEAN_TOLERANCE,
    TRANSFER_MEAN_TOLERANCE,
    Line,
    compare,
    compare_probs,
)
from parity_network import Run, Subject, recording
from parity_transfer import TRANSFER

STEMS = {"convnext": "encoder.visual_trunk.stem", "resnet": "encoder.visual_trunk.act3"}  # by encoder
COARSE_FIRST = ("res5", "res4", "res3")  # level order of the pixel decoder
LOG_PROBS = r"(final|case_empty_mask)/log_probs_gamma([\d.]+)_valid([01])"
DEPENDS_ON_TEXT = r"/text/|pred_logits|_probs$|in_vocab"  # arrays that depend on text embeddings
# Factor on the spread of the features in `case_all_masked`, in which every mask logit is negative (see the
# README of the reference data).
SHRINK = 0.05


def check_arrays(subject: Subject, path: Path) -> Iterator[Line]:
    """Yield one line per array of the file, and one for the seen/unseen rule."""
    if subject.recorded_seen:
        seen = torch.tensor(subject.recorded_seen)
        yield compare(f"{subject.family}/vocabulary/seen_in_training", seen, subject.seen)
    recorded = load_file(path)
    for name in sorted(recorded):
        yield _check(subject, name, recorded)


def _check(subject: Subject, name: str, recorded: Mapping[str, Tensor]) -> Line:
    title = f"{subject.family}/{name}"
    run, _, rest = name.partition("/")
    if subject.skips(run):
        return Line.skipped(title, "skipped by design")
    if run == "text":
        ours = _computed(TEXT, subject, rest)
    elif run not in subject.numbers["runs"]:
        ours = None
    elif match := re.fullmatch(LOG_PROBS, rest):
        case, gamma, valid = match.groups()
        probs = _final_probs(subject.run(run), case=case, gamma=float(gamma), valid=valid == "1")
        return compare_probs(title, recorded[name], probs)
    elif rest.startswith("case_all_masked/"):
        bias = recorded[f"{run}/case_all_masked/mask_embed_bias"]
        ours = _all_masked(subject.run(run), bias).get(rest.removeprefix("case_all_masked/"))
    else:
        ours = _computed(RUN | TRANSFER, subject.run(run), rest)
    if ours is None:
        return Line(title, "unknown array")
    if rest.endswith("/log_probs"):
        return compare_probs(title, recorded[name], ours)
    return compare(title, recorded[name], ours, mean_tolerance=_mean_tolerance(subject, title))


def _mean_tolerance(subject: Subject, title: str) -> float:
    if subject.config.text_transfer is not None:
        return TRANSFER_MEAN_TOLERANCE
    return TEXT_MEAN_TOLERANCE if re.search(DEPENDS_ON_TEXT, title) else MEAN_TOLERANCE


def _computed(table: Mapping[str, Callable[..., Tensor]], source: Subject | Run, name: str) -> Tensor | None:
    """Call the function of the first pattern that matches the whole name; None if no pattern matches."""
    for pattern, compute in table.items():
        if match := re.fullmatch(pattern, name):
            return compute(source, *match.groups())
    return None


def _prompts(subject: Subject, category: str) -> list[str]:
    """Return the prompts of a category: every template for the first name, then for the next name."""
    names = subject.vocabulary.categories[int(category)].names
    return [template.replace("{}", name) for name in names for template in subject.templates]


def _tokens(subject: Subject, category: str) -> Tensor:
    """Return token ids, padded with zeros to the context length as in the released code."""
    tower = subject.network.encoder.text_tower
    ids = [tower.token_ids(prompt) for prompt in _prompts(subject, category)]
    return torch.tensor([row + [0] * (tower.context_length - len(row)) for row in ids], dtype=torch.int32)


def _prompt_features(subject: Subject, category: str) -> Tensor:
    return subject.network.encoder.embed_texts(_prompts(subject, category))


def _embeddings(vocabulary: Callable[[Subject], Vocabulary]) -> Callable[[Subject], Tensor]:
    return lambda subject: subject.text_embeddings(vocabulary(subject))


TEXT: dict[str, Callable[..., Tensor]] = {
    r"category(\d+)_tokens": _tokens,
    r"category(\d+)_prompt_features": _prompt_features,
    r"test_classifier": _embeddings(lambda subject: subject.vocabulary),
    r"train_classifier": _embeddings(lambda subject: subject.training_vocabulary),
    r"void_normalised": lambda subject: F.normalize(
        subject.network.text_classifier.void_embedding[None], dim=-1
    ),
}


def _final_probs(run: Run, *, case: str, gamma: float, valid: bool) -> Tensor:
    """Return class probabilities with void in the last column."""
    inference = run.subject.config.inference
    scored = score_masks(
        run.predictions if case == "final" else _empty_mask_predictions(run),
        0,
        seen=run.subject.seen,
        alpha=inference.alpha,
        beta=inference.beta,
        trust=gamma,
        ensemble_on_valid_mask=valid,
    )
    categories = scored.category_probs * scored.objectness[:, None]
    return torch.cat((categories, 1 - scored.objectness[:, None]), dim=-1)[None]


def _upsampled(run: Run, count: str, image: str, *, to_output: bool) -> Tensor:
    """Return the first masks at the padded size, or cropped to the image and resized to the output size."""
    padded = run.images.padded_size
    sizes = run.sizes[int(image)] if to_output else ImageSizes(padded=padded, valid=padded, output=padded)
    tiles = upsample_tiles(run.proposals[-1].mask_logits[int(image), : int(count)], sizes)
    return torch.cat([tile for _, tile in tiles], dim=1)


def _void_probs(run: Run) -> Tensor:
    logits = run.logits_with_void(run.proposals[-1])
    return logits.softmax(dim=-1)[..., -1:]


def _empty_masks(run: Run) -> Tensor:
    """Return mask logits of which query 0 covers no pixel and query 1 covers all."""
    mask_logits = run.proposals[-1].mask_logits.clone()
    mask_logits[:, 0], mask_logits[:, 1] = -1, 1
    return mask_logits


def _empty_mask_embeddings(run: Run) -> MaskEmbeddings:
    return run.subject.network.encoder.embed_masks(run.features.clip_features, _empty_masks(run))


def _empty_mask_predictions(run: Run) -> MaskPredictions:
    final = run.proposals[-1]
    encoding = Encoding(
        proposals=replace(final, mask_logits=_empty_masks(run)),
        clip=_empty_mask_embeddings(run),
    )
    return run.subject.network.classify(encoding, run.subject.categories)


def _scaled_pred_logits(run: Run, scale: str) -> Tensor:
    """Return category and void logits with another (logarithmic) logit scale."""
    classifier = copy.deepcopy(run.subject.network.text_classifier)
    classifier.logit_scale.fill_(float(scale))
    logits, void = classifier(run.proposals[-1].embeddings, run.subject.categories)
    return torch.cat((logits, void[..., None]), dim=-1)


def _scaled_clip_probs(run: Run, scale: str) -> Tensor:
    categories = run.subject.categories
    name_logits = cosine_logits(
        run.clip.embeddings,
        categories.out_vocab,
        logit_scale=torch.tensor(float(scale)),
        max_scale=run.subject.network.encoder.max_logit_scale,
    )
    return max_over_names(name_logits, categories).softmax(dim=-1)


def _all_masked(run: Run, bias: Tensor) -> dict[str, Tensor]:
    """Repeat the case in which every query has the mask embedding `bias` and all mask logits are negative."""
    decoder = copy.deepcopy(run.subject.network.mask_decoder)
    decoder.mask_head.layers[-1].weight.zero_()
    decoder.mask_head.layers[-1].bias.copy_(bias)
    mean = run.pixels.mask_features.mean(dim=(-2, -1), keepdim=True)
    flat = PixelFeatures(mean + SHRINK * (run.pixels.mask_features - mean), run.pixels.multi_scale_features)
    with recording(decoder) as outputs:
        final = decoder(flat)[-1]
    (_, first_layer), *_ = outputs["cross_attention.0<"]
    return {
        "mask_embed_bias": decoder.mask_head.layers[-1].bias,  # an input of this case
        "attn_mask_any_layer0": (~first_layer["allowed"]).any()[None],
        "pred_logits": run.logits_with_void(final),
        "pred_masks_max": final.mask_logits.max()[None],
    }


RUN: dict[str, Callable[..., Tensor]] = {
    r"image_padded": lambda run: run.subject.network.encoder.normalize(run.images),
    r"backbone/stem": lambda run: run.outputs[STEMS[run.subject.config.encoder.family]][0],
    r"backbone/res(\d)": lambda run, level: run.features.levels[int(level) - 2],
    r"backbone/clip_vis_dense": lambda run: run.features.clip_features,
    r"pixel_decoder/input_proj_(res\d)": lambda run, level: run.outputs[
        f"pixel_decoder.input_projections.{COARSE_FIRST.index(level)}"
    ][0],
    r"pixel_decoder/encoder_layer(\d+)_output": lambda run, i: run.outputs[f"pixel_decoder.layers.{i}"][0],
    r"pixel_decoder/multi_scale_(\d)": lambda run, level: run.pixels.multi_scale_features[int(level)],
    r"pixel_decoder/mask_features": lambda run: run.pixels.mask_features,
    r"decoder/attn_mask_layer(\d+)": lambda run, i: (
        ~run.outputs[f"mask_decoder.cross_attention.{i}<"][0][1]["allowed"]
    ),
    r"decoder/layer(\d+)_output": lambda run, i: run.outputs[f"mask_decoder.feed_forward.{i}"][0],
    r"decoder/mask_embed_(\d+)": lambda run, i: run.outputs["mask_decoder.mask_head"][int(i)],
    r"decoder/mask_pool_proj_(\d+)": lambda run, i: run.outputs["mask_decoder.pooled_projection"][int(i)],
    r"decoder/class_embed_final": lambda run: run.proposals[-1].embeddings,
    r"decoder/class_embed_(\d+)": lambda run, i: run.proposals[int(i)].embeddings,
    r"decoder/pred_logits_(\d+)": lambda run, i: run.logits_with_void(run.proposals[int(i)]),
    r"decoder/pred_masks_(\d+)": lambda run, i: run.proposals[int(i)].mask_logits,
    r"in_vocab/probs(?:_not_used)?": lambda run: run.predictions.in_vocab_logits.softmax(dim=-1),
    r"in_vocab/void_prob": _void_probs,
    r"clip/masks_for_pooling": lambda run: resize_logits(
        run.proposals[-1].mask_logits, run.features.clip_features
    ),
    r"clip/mask_pooled": lambda run: run.outputs["encoder.head_norm<"][0][0][0],
    r"clip/mask_embedding": lambda run: run.clip.embeddings,
    r"clip/out_vocab_probs": lambda run: run.clip_probs(run.clip),
    r"final/mask_logits_padded_size_first(\d+)": lambda run, count: _upsampled(
        run, count, "0", to_output=False
    )[None],
    r"final/mask_logits_output_size_first(\d+)_item(\d+)": lambda run, count, image: _upsampled(
        run, count, image, to_output=True
    ),
    r"case_empty_mask/pred_masks_first(\d+)": lambda run, count: _empty_masks(run)[:, : int(count)],
    r"case_empty_mask/mask_embedding": lambda run: _empty_mask_embeddings(run).embeddings,
    r"case_empty_mask/out_vocab_probs": lambda run: run.clip_probs(_empty_mask_embeddings(run)),
    r"case_logit_scale_([\d.]+)/pred_logits": _scaled_pred_logits,
    r"case_logit_scale_([\d.]+)/out_vocab_probs": _scaled_clip_probs,
}
