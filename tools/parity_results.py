"""Compare recorded panoptic, semantic and instance results for several values of γ and thresholds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ovrcoat.postprocessing.instance import instances
from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.scoring import score_masks
from ovrcoat.postprocessing.semantic import semantic, semantic_tiles
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.structures import ScoredMasks
from parity_compare import Line, compare_halves, compare_numbers
from parity_network import Run, Subject

EQUAL_PIXELS = 0.999  # smallest share of equal pixels with which a map passes
ITEM = r"([^/]+)/item0/gamma([\d.]+)"
PANOPTIC = ITEM + r"_overlap([\d.]+)_object([\d.]+)"


def check_results(subject: Subject, path: Path) -> Iterator[Line]:
    """Yield one line per array of results.safetensors and per entry of results.json."""
    arrays = load_file(path)
    entries: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())["results"]
    for name in sorted(arrays):
        yield _check(subject, name, arrays[name])
    for name in sorted(entries):
        yield _check(subject, name, entries[name])


def _check(subject: Subject, name: str, recorded: Any) -> Line:
    title = f"{subject.family}/results/{name}"
    run = name.partition("/")[0]
    if subject.is_batch(run):
        return Line.skipped(title, "skipped by design")
    for pattern, compare in TABLE.items():
        if (match := re.fullmatch(pattern, name)) and run in subject.numbers["runs"]:
            _, *numbers = match.groups()
            return compare(title, recorded, subject.run(run), *(float(number) for number in numbers))
    return Line(title, "unknown array")


def _scored(run: Run, gamma: float) -> tuple[ScoredMasks, ImageSizes]:
    """Return the masks of the image with final class probabilities, and the image's sizes."""
    inference = run.subject.config.inference
    scored = score_masks(
        run.predictions,
        0,
        seen=run.subject.seen,
        alpha=inference.alpha,
        beta=inference.beta,
        trust=gamma,
        ensemble_on_valid_mask=inference.ensemble_on_valid_mask,
    )
    valid = run.images.valid_sizes[0]
    return scored, ImageSizes(padded=run.images.padded_size, valid=valid, output=run.output_size)


def _panoptic(
    run: Run, gamma: float, overlap: float, threshold: float
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Return the id map, and the segments in the form of the released code's `segments_info`."""
    scored, sizes = _scored(run, gamma)
    output = panoptic(
        scored,
        sizes,
        categories=run.subject.vocabulary.categories,
        object_mask_threshold=threshold,
        overlap_threshold=overlap,
    )
    described = [
        {"id": part.id, "isthing": part.is_thing, "category_id": part.category_id, "area": part.area}
        for part in output.segments
    ]
    return torch.from_numpy(output.id_map), described


def _panoptic_map(
    title: str, recorded: Tensor, run: Run, gamma: float, overlap: float, threshold: float
) -> Line:
    return _map_line(title, recorded, _panoptic(run, gamma, overlap, threshold)[0])


def _segments(
    title: str, recorded: dict[str, Any], run: Run, gamma: float, overlap: float, threshold: float
) -> Line:
    """Compare ids, categories and kinds in order; areas may differ by 0.1 % of the image's pixels."""
    id_map, ours = _panoptic(run, gamma, overlap, threshold)
    theirs = recorded["segments_info"]
    same = [_without_area(part) for part in ours] == [_without_area(part) for part in theirs]
    areas = [(part["area"], other["area"]) for part, other in zip(ours, theirs, strict=False)]
    areas.append((int((id_map == 0).sum()), recorded["num_unassigned_pixels"]))
    largest = max(abs(a - b) for a, b in areas)
    close = largest <= (1 - EQUAL_PIXELS) * id_map.numel()
    note = f"{len(theirs)} segments" if same else f"computed: {ours}, recorded: {theirs}"
    return Line.verdict(title, same and close, note=f"{note}, areas differ by at most {largest} pixels")


def _without_area(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "area"}


def _semantic_argmax(title: str, recorded: Tensor, run: Run, gamma: float) -> Line:
    scored, sizes = _scored(run, gamma)
    category_map, _, _ = semantic(scored, sizes, categories=run.subject.vocabulary.categories)
    return _map_line(title, recorded, torch.from_numpy(category_map) - 1)


def _semantic_scores(title: str, recorded: Tensor, run: Run, gamma: float) -> Line:
    scores = torch.cat([votes for _, votes in semantic_tiles(*_scored(run, gamma))], dim=1)
    return compare_halves(title, recorded, scores)


def _instances(title: str, recorded: dict[str, list[Any]], run: Run, gamma: float) -> Line:
    """Compare with the released OVRCOAT, which scores a mask by its mean logit."""
    return _instance_line(title, recorded, run, gamma, by_logit=True)


def _instances_fcclip(title: str, recorded: dict[str, list[Any]], run: Run, gamma: float) -> Line:
    """Compare with FC-CLIP, which scores a mask by its mean probability, as this package does."""
    return _instance_line(title, recorded, run, gamma, by_logit=False)


def _instance_line(
    title: str, recorded: dict[str, list[Any]], run: Run, gamma: float, *, by_logit: bool
) -> Line:
    """Compare as sets, sorted by label and score; areas may differ by 0.1 % of the image's pixels."""
    scored, sizes = _scored(run, gamma)
    value = {"mask_value": torch.Tensor.clone} if by_logit else {}
    segments, _ = instances(
        scored,
        sizes,
        categories=run.subject.vocabulary.categories,
        limit=run.subject.config.inference.instances,
        keep_empty=True,
        **value,
    )
    ours = sorted((part.category_id, part.score, part.area) for part in segments)
    theirs = sorted(zip(recorded["labels"], recorded["scores"], recorded["mask_areas"], strict=True))
    if [label for label, _, _ in ours] != [label for label, _, _ in theirs]:
        return Line.verdict(title, False, note="labels differ")
    areas = max((abs(a[2] - b[2]) for a, b in zip(ours, theirs, strict=True)), default=0)
    if areas > (1 - EQUAL_PIXELS) * run.output_size[0] * run.output_size[1]:
        return Line.verdict(title, False, note=f"areas differ by {areas} pixels")
    return compare_numbers(title, [score for _, score, _ in theirs], [score for _, score, _ in ours])


def _map_line(title: str, recorded: Tensor, ours: Tensor) -> Line:
    if recorded.shape != ours.shape:
        return Line.shapes_differ(title, recorded, ours)
    equal = float((recorded == ours).double().mean())
    return Line.verdict(title, equal >= EQUAL_PIXELS, note=f"{equal:.4%} equal pixels")


TABLE = {
    PANOPTIC + "/panoptic": _panoptic_map,
    PANOPTIC: _segments,
    ITEM + "/semantic_argmax": _semantic_argmax,
    ITEM + "/semantic_scores_fp16": _semantic_scores,
    ITEM + "/instances": _instances,
    ITEM + "/instances_fcclip_scoring": _instances_fcclip,
}
