"""Panoptic JSON and PNG files of truth and prediction in; every fault, or the figures, out.

Images are read a few at a time by threads and forgotten: memory holds the two JSON lists and those images.
Decoding the PNG files is most of the work. Pillow's decoder takes four fifths of the time; kornia-rs (a
wheel around Rust's decoder, the extra `score`) needs a fourth of Pillow's, so it is used where installed.
What is left is counted by runs (`panoptic_quality.count_overlap`). A compiled engine for the counting would
gain little more, and those that exist trust the files. Numbers: benchmarks/scoring.py.
"""

import io
import json
import os
import struct
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32
from PIL import Image
from tqdm import tqdm

from ovrcoat.data.files import DOCUMENT_LIMIT, PICTURE_LIMIT
from ovrcoat.data.images import MAX_PIXELS
from ovrcoat.errors import DatasetError, MissingExtraError
from ovrcoat.evaluation.checks.panoptic import (
    NOT_GIVEN,
    Pair,
    check_annotations,
    check_categories,
    pair_up,
    pixel_faults,
)
from ovrcoat.evaluation.checks.panoptic_faults import Fault, refuse_errors, report
from ovrcoat.evaluation.metrics.groups import matching_preset, seen_category_ids
from ovrcoat.evaluation.metrics.panoptic_quality import (
    PanopticQuality,
    Tally,
    count_overlap,
    match_overlap,
    size_text,
    with_areas,
)
from ovrcoat.formats.panoptic_png import ID_BITS, image_to_id_map
from ovrcoat.issues import IssueList
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Category, Vocabulary

Areas = Literal["json", "png"]
OTHER_AREAS: dict[Areas, Areas] = {"json": "png", "png": "json"}
THREADS = 4  # more gain nothing: what is left of Python runs one at a time
# Bytes. glibc gives large freed blocks back to the system, and touching new ones can cost as much as
# decoding. Having freed one block of up to 32 MiB raises that limit for good; being untouched, it is free.
LOOSENING_BLOCK = 31 << 20
BATCH = 16  # images that a thread takes at a time: fewer hand-overs between threads
PNG_HEADER = struct.Struct(">8s4x4sIIBB")  # signature, chunk's name, width, height, depth, colours
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLORS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


class PngFaultError(DatasetError):
    """A PNG file does not hold segment ids; `code` is that of the finding."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class PanopticSource:
    """Where truth or prediction lies: a JSON file in COCO's panoptic format, and the folder of its PNGs."""

    json: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Examined:
    """One image: its faults, and its tallies by where areas come from (None: these areas are impossible)."""

    faults: tuple[Fault, ...]
    tallies: dict[Areas, dict[int, Tally] | None]


def score_panoptic(
    truth: PanopticSource,
    prediction: PanopticSource,
    *,
    seen: Vocabulary | Collection[int] | None = None,
    areas: Areas = "json",
    progress: bool = False,
) -> dict[str, Any]:
    """Figures of a prediction, as `PanopticQuality.report` has them, with all warnings as `issues`.

    `seen` tells the categories that training knew: its vocabulary, or category ids.

    Raises:
        DatasetError: no figure would mean anything; the message holds all faults.
    """
    issues = IssueList()
    categories, pairs = _read_pairs(truth, prediction, issues)
    sums: dict[Areas, PanopticQuality | None] = {"json": PanopticQuality(), "png": PanopticQuality()}
    for examined in _examine_all(pairs, truth.folder, prediction.folder, progress=progress):
        for code, example in examined.faults:
            if code != "area-impossible" or areas == "json":
                report(issues, code, example)
        for choice, tallies in examined.tallies.items():
            if tallies is None:
                sums[choice] = None
            elif (total := sums[choice]) is not None:
                total.add(tallies)
    refuse_errors(issues, subject=f"{prediction.json} against {truth.json}")
    asked = sums[areas]
    assert asked is not None, "impossible areas are an error"
    seen_ids = _seen_ids(categories, seen, issues)
    figures = asked.report(categories, seen_ids)
    if "areas-differ" in issues:
        _report_other_areas(figures, sums[OTHER_AREAS[areas]], categories, areas=areas, issues=issues)
    if not figures["per_class"]:
        report(issues, "nothing-counted", str(prediction.json))
    seen_part = {} if seen_ids is None else {"seen_category_ids": sorted(seen_ids)}
    facts = {"n_images": len(pairs), "areas": areas, "issues": [issue.to_dict() for issue in issues]}
    return figures | seen_part | facts


def check_panoptic(
    truth: PanopticSource, prediction: PanopticSource, *, progress: bool = False
) -> tuple[IssueList, int]:
    """All faults that `score_panoptic` would tell, errors too, and the number of images looked at."""
    issues = IssueList()
    _, pairs = _read_pairs(truth, prediction, issues)
    for examined in _examine_all(pairs, truth.folder, prediction.folder, progress=progress):
        for code, example in examined.faults:
            report(issues, code, example)
    return issues, len(pairs)


def read_id_map(path: Path) -> tuple[Int32[np.ndarray, "height width"], bool]:
    """The segment ids of COCO's PNG (R + 256 G + 65536 B), and whether there was an alpha channel to ignore.

    Raises:
        PngFaultError: the file is missing, damaged, too large or no 8-bit RGB.
    """
    try:
        with path.open("rb") as file:
            header = file.read(PNG_HEADER.size)
            has_alpha = _check_header(header, size=os.fstat(file.fileno()).st_size)
            content = header + file.read()
        return _id_decoder()(content), has_alpha
    except FileNotFoundError as error:
        raise PngFaultError("png-missing", "not found") from error
    except PngFaultError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise PngFaultError("png-damaged", str(error) or type(error).__name__) from error


def _check_header(header: bytes, *, size: int) -> bool:
    """Look at a PNG before it is decoded: whether it has an alpha channel."""
    if len(header) < PNG_HEADER.size:
        raise PngFaultError("png-damaged", f"only {size} bytes")
    signature, kind, width, height, depth, color = PNG_HEADER.unpack(header)
    if signature != PNG_SIGNATURE or kind != b"IHDR":
        raise PngFaultError("png-damaged", "this is no PNG file")
    if depth != 8 or color not in (2, 6):  # known here only: Pillow turns 16 bits into 8
        raise PngFaultError("png-not-rgb", f"{depth}-bit {PNG_COLORS.get(color, color)}")
    if width * height > MAX_PIXELS or size > PICTURE_LIMIT:
        raise PngFaultError(
            "png-too-large",
            f"{width} × {height} pixels, {size:,} bytes; at most {MAX_PIXELS:,} and {PICTURE_LIMIT:,}",
        )
    return bool(color == 6)


@cache
def _id_decoder() -> Callable[[bytes], Int32[np.ndarray, "height width"]]:
    try:
        return partial(_ids_by_kornia, import_optional("kornia_rs.io", extra="score"))
    except MissingExtraError:
        return _ids_by_pillow


def _ids_by_kornia(library: ModuleType, content: bytes) -> Int32[np.ndarray, "height width"]:
    _, _, width, height, _, color = PNG_HEADER.unpack(content[: PNG_HEADER.size])
    colors = library.decode_image_png_u8(content, (height, width), "rgb" if color == 2 else "rgba")
    if color == 6:
        colors = np.ascontiguousarray(colors[..., :3])
    # four bytes are read for every three, the last pixel by hand: a fourth of the time of adding channels up
    channels = colors.reshape(-1)
    overlapping = np.ndarray(height * width - 1, dtype="<u4", buffer=channels, strides=(3,))
    ids = np.empty(height * width, dtype=np.uint32)
    np.bitwise_and(overlapping, ID_BITS, out=ids[:-1])
    ids[-1] = int.from_bytes(channels[-3:].tobytes(), "little")
    return ids.view(np.int32).reshape(height, width)


def _ids_by_pillow(content: bytes) -> Int32[np.ndarray, "height width"]:
    return image_to_id_map(Image.open(io.BytesIO(content), formats=("PNG",)))


def _read_pairs(
    truth: PanopticSource, prediction: PanopticSource, issues: IssueList
) -> tuple[tuple[Category, ...], tuple[Pair, ...]]:
    """The categories of the truth, and what both JSON files say of each image."""
    true_document = _read_document(truth, issues)
    predicted_document = _read_document(prediction, issues)
    if true_document is None:
        return (), ()
    categories = check_categories(true_document, issues)
    truths = check_annotations(true_document, side="truth", categories=categories, issues=issues)
    if predicted_document is None:
        return categories, ()
    predictions = check_annotations(
        predicted_document, side="prediction", categories=categories, issues=issues
    )
    pairs = pair_up(truths, predictions, images=true_document.get("images"), issues=issues)
    return categories, pairs if truth.folder.is_dir() and prediction.folder.is_dir() else ()


def _read_document(source: PanopticSource, issues: IssueList) -> dict[str, Any] | None:
    if not source.folder.is_dir():
        report(issues, "folder-missing", str(source.folder))
    try:
        if source.json.stat().st_size > DOCUMENT_LIMIT:
            raise ValueError(f"larger than {DOCUMENT_LIMIT >> 20} MiB")
        document = json.loads(source.json.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        report(issues, "json-unreadable", f"{source.json}: {reason}")
        return None
    if not isinstance(document, dict):
        report(
            issues, "json-not-panoptic", f"{source.json}: a {type(document).__name__} instead of an object"
        )
        return None
    return document


def _examine_all(
    pairs: Sequence[Pair], truth_folder: Path, prediction_folder: Path, *, progress: bool
) -> Iterator[Examined]:
    """Every pair examined, in order; threads work ahead by a few batches."""

    def examine_batch(batch: Sequence[Pair]) -> list[Examined]:
        return [_examine(pair, truth_folder, prediction_folder) for pair in batch]

    bytearray(LOOSENING_BLOCK)
    threads = min(THREADS, os.cpu_count() or 1)
    waiting: deque[Future[list[Examined]]] = deque()
    bar = tqdm(total=len(pairs), unit="image", disable=None if progress else True)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="score")
    # one filter around all threads, for filters are those of the process: of odd metadata and large pictures,
    # whose limit is our own
    with warnings.catch_warnings(), bar:
        warnings.simplefilter("ignore")
        try:
            for start in range(0, len(pairs), BATCH):
                waiting.append(pool.submit(examine_batch, pairs[start : start + BATCH]))
                if len(waiting) > 2 * threads:
                    done = waiting.popleft().result()
                    bar.update(len(done))
                    yield from done
            for future in waiting:
                bar.update(len(future.result()))
                yield from future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _examine(pair: Pair, truth_folder: Path, prediction_folder: Path) -> Examined:
    where = f"image {pair.truth.image_id!r}"
    faults: list[Fault] = []
    true_map = _read_side(truth_folder / pair.truth.file_name, f"{where}, truth", faults)
    predicted_map = _read_side(prediction_folder / pair.prediction.file_name, f"{where}, prediction", faults)
    if true_map is None or predicted_map is None:
        return Examined(tuple(faults), {})
    height, width = true_map.shape
    if pair.listed_size is not None and pair.listed_size != (width, height):
        faults.append(("truth-size-differs", f"{where}: JSON {pair.listed_size}, PNG {(width, height)}"))
    if true_map.shape != predicted_map.shape:
        swapped = " (width and height look swapped)" if predicted_map.shape == (width, height) else ""
        sizes = f"truth {size_text(true_map)}, prediction {size_text(predicted_map)} pixels{swapped}"
        faults.append(("size-mismatch", f"{where}: {sizes}"))
        return Examined(tuple(faults), {})
    overlap = count_overlap(true_map, predicted_map)
    faults += pixel_faults(pair, overlap)
    predicted = {
        segment.id: segment.category_id
        for segment in pair.prediction.segments
        if segment.id in overlap.predicted_areas
    }
    segments = pair.truth.segments
    if all(segment.area == overlap.true_areas.get(segment.id) for segment in segments):
        tallies = match_overlap(overlap, segments, predicted=predicted).tallies
        return Examined(tuple(faults), {"json": tallies, "png": tallies})
    counted = with_areas(segments, overlap.true_areas)
    by_pixels = match_overlap(overlap, counted, predicted=predicted).tallies
    given = tuple(
        count if segment.area == NOT_GIVEN else segment
        for segment, count in zip(segments, counted, strict=True)
    )
    try:
        by_json = match_overlap(overlap, given, predicted=predicted).tallies
    except DatasetError as error:
        faults.append(("area-impossible", f"{where}: {error}"))
        return Examined(tuple(faults), {"json": None, "png": by_pixels})
    return Examined(tuple(faults), {"json": by_json, "png": by_pixels})


def _read_side(path: Path, where: str, faults: list[Fault]) -> Int32[np.ndarray, "height width"] | None:
    try:
        ids, has_alpha = read_id_map(path)
    except PngFaultError as error:
        faults.append((error.code, f"{where}: {path}: {error}"))
        return None
    if has_alpha:
        faults.append(("png-with-alpha", f"{where}: {path}"))
    return ids


def _seen_ids(
    categories: Sequence[Category], seen: Vocabulary | Collection[int] | None, issues: IssueList
) -> frozenset[int] | None:
    if seen is None:
        return None
    if isinstance(seen, Vocabulary):
        if preset := matching_preset(categories):
            report(issues, "seen-by-preset", str(preset.name))
        return seen_category_ids(categories, seen)
    for id in sorted(set(seen) - {category.id for category in categories}):
        report(issues, "seen-id-unknown", f"id {id}")
    return frozenset(seen) & {category.id for category in categories}


def _report_other_areas(
    figures: dict[str, Any],
    other: PanopticQuality | None,
    categories: Sequence[Category],
    *,
    areas: Areas,
    issues: IssueList,
) -> None:
    choice = OTHER_AREAS[areas]
    if other is None:
        example = f"--areas {choice}: impossible, an IoU would exceed 1"
    else:
        values = other.report(categories)["groups"]["All"]["pq"], figures["groups"]["All"]["pq"]
        texts = ["nothing" if value is None else f"{100 * value:.2f} %" for value in values]
        example = f"PQ of all categories is {texts[0]} with --areas {choice}, {texts[1]} with --areas {areas}"
    report(issues, "areas-other-choice", example)
