"""Compare recorded panoptic, semantic and instance results for several values of γ and thresholds."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ovrcoat.postprocessing.instance import instances
from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.semantic import semantic, semantic_tiles
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.structures import ScoredMasks
from parity_compare import Line, compare_halves, compare_numbers
from parity_network import Run, Subject
from parity_transfer import with_arrangement

EQUAL_PIXELS = 0.999  # smallest share of equal pixels with which a map passes
# Run, image of the batch, and γ; MAFT+ has none, and its own trust, 0, is used.
ITEM = r"([^/]+)/item(\d+)/(?:gamma([\d.]+)[_/])?"
PANOPTIC = ITEM + r"overlap([\d.]+)_object([\d.]+)"
SEMANTIC_CASE = r"([^/]+)/case_semantic_config/semantic_argmax"


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
    if subject.skips(run):
        return Line.skipped(title, "skipped by design")
    if run not in subject.numbers["runs"]:
        return Line(title, "unknown array")
    if re.fullmatch(SEMANTIC_CASE, name):
        return _semantic_argmax(
            title, recorded, Item(with_arrangement(subject, "semantic").run(run), 0, None)
        )
    for pattern, compare in TABLE.items():
        if match := re.fullmatch(pattern, name):
            _, index, gamma, *thresholds = match.groups()
            item = Item(subject.run(run), int(index), None if gamma is None else float(gamma))
            return compare(title, recorded, item, *(float(threshold) for threshold in thresholds))
    return Line(title, "unknown array")


@dataclass(frozen=True)
class Item:
    """One image of a run, and γ (None: the model's own)."""

    run: Run
    index: int
    gamma: float | None

    @property
    def subject(self) -> Subject:
        """The recorded network."""
        return self.run.subject

    @property
    def sizes(self) -> ImageSizes:
        """Sizes of the image."""
        return self.run.sizes[self.index]

    @property
    def scored(self) -> ScoredMasks:
        """The masks of the image with final class probabilities."""
        return self.run.scored(self.index, gamma=self.gamma)


def _panoptic(item: Item, overlap: float, threshold: float) -> tuple[Tensor, list[dict[str, Any]]]:
    """Return the id map, and the segments in the form of the released code's `segments_info`."""
    output = panoptic(
        item.scored,
        item.sizes,
        categories=item.subject.vocabulary.categories,
        object_mask_threshold=threshold,
        overlap_threshold=overlap,
    )
    described = [
        {"id": part.id, "isthing": part.is_thing, "category_id": part.category_id, "area": part.area}
        for part in output.segments
    ]
    return torch.from_numpy(output.id_map), described


def _panoptic_map(title: str, recorded: Tensor, item: Item, overlap: float, threshold: float) -> Line:
    return _map_line(title, recorded, _panoptic(item, overlap, threshold)[0])


def _segments(title: str, recorded: dict[str, Any], item: Item, overlap: float, threshold: float) -> Line:
    """Compare ids, categories and kinds in order; areas may differ by 0.1 % of the image's pixels."""
    id_map, ours = _panoptic(item, overlap, threshold)
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


def _semantic_argmax(title: str, recorded: Tensor, item: Item) -> Line:
    category_map, _, _ = semantic(
        item.scored,
        item.sizes,
        categories=item.subject.vocabulary.categories,
        at_input_size=item.subject.config.inference.semantic_at_input_size,
    )
    return _map_line(title, recorded, torch.from_numpy(category_map) - 1)


def _semantic_scores(title: str, recorded: Tensor, item: Item) -> Line:
    scores = torch.cat([votes for _, votes in semantic_tiles(item.scored, item.sizes)], dim=1)
    return compare_halves(title, recorded, scores)


def _instances(title: str, recorded: dict[str, list[Any]], item: Item) -> Line:
    """Compare with the released OVRCOAT, which scores a mask by its mean logit."""
    return _instance_line(title, recorded, item, by_logit=True)


def _instances_fcclip(title: str, recorded: dict[str, list[Any]], item: Item) -> Line:
    """Compare with FC-CLIP, which scores a mask by its mean probability, as this package does."""
    return _instance_line(title, recorded, item, by_logit=False)


def _instance_line(title: str, recorded: dict[str, list[Any]], item: Item, *, by_logit: bool) -> Line:
    """Compare as sets, sorted by label and score; areas may differ by 0.1 % of the image's pixels."""
    value = {"mask_value": torch.Tensor.clone} if by_logit else {}
    segments, _ = instances(
        item.scored,
        item.sizes,
        categories=item.subject.vocabulary.categories,
        limit=item.subject.config.inference.instances,
        keep_empty=True,
        **value,
    )
    ours = sorted((part.category_id, part.score, part.area) for part in segments)
    theirs = sorted(zip(recorded["labels"], recorded["scores"], recorded["mask_areas"], strict=True))
    if [label for label, _, _ in ours] != [label for label, _, _ in theirs]:
        return Line.verdict(title, False, note="labels differ")
    areas = max((abs(a[2] - b[2]) for a, b in zip(ours, theirs, strict=True)), default=0)
    if areas > (1 - EQUAL_PIXELS) * item.sizes.output[0] * item.sizes.output[1]:
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
    ITEM + "semantic_argmax": _semantic_argmax,
    ITEM + "semantic_scores_fp16": _semantic_scores,
    ITEM + "instances": _instances,
    ITEM + "instances_fcclip_scoring": _instances_fcclip,
}
