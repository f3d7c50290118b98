"""Create ADE20K's panoptic and instance files from its labels, as the published script does.

Stuff comes from the semantic labels, things from the instance labels, which are drawn over it. All other
pixels are void. Segment ids are reproducible: category id + 1 in red, the instance's number in green.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.ade20k import ADVICE, CATEGORY_COUNT, FOLDERS, HOME, SEMANTIC_ADVICE
from ovrcoat.data.ade20k_instances import instance_annotations, instance_masks, thing_entries
from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_channels, decode_values
from ovrcoat.data.preparation import (
    DocumentWriter,
    Preparation,
    Track,
    category_entries,
    exclusive,
    segment_entry,
    write_id_map,
)
from ovrcoat.data.splits import check_split
from ovrcoat.errors import DatasetError
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Vocabulary


def prepare_ade20k(
    root: Path,
    split: str = "val",
    *,
    overwrite: bool = False,
    published_areas: bool = False,
    track: Track = iter,
) -> Preparation:
    """Create ade20k_panoptic_{split}/*.png and .json, and ade20k_instance_{split}.json.

    Args:
        root: Folder of the datasets, the dataset's own folder, or its zip file.
        split: "val" or "train".
        overwrite: Replace files that exist. Default: keep them.
        published_areas: Write what the published script writes: areas and boxes from before instances were
            drawn over stuff, and segments that are completely covered. Published results use these values;
            PQ of such ground truth against itself is below 100.
        track: Wraps the list of label files, for example in a progress bar.

    Raises:
        DatasetError: Labels are missing or invalid, or the split does not exist.
        OutputError: A file cannot be written, or another program's file is in the way.
        MissingExtraError: pycocotools is not installed.
    """
    check_split(split, tuple(FOLDERS), name="ade20k")
    import_optional("pycocotools.mask", extra="coco")  # fail before the work instead of after it
    tree = FileTree(root, home=HOME)
    sources = tree.list(f"annotations/{FOLDERS[split]}", suffixes=(".png",))
    if not sources:
        raise tree.missing(f"annotations/{FOLDERS[split]}/", advice=ADVICE)
    folder = tree.output_folder(sources[0])
    panoptic, instance = folder / f"ade20k_panoptic_{split}.json", folder / f"ade20k_instance_{split}.json"
    with exclusive((panoptic, instance)):
        todo = [path for path in (panoptic, instance) if overwrite or not path.exists()]
        if not todo:
            return Preparation((panoptic, instance), image_count=0)
        _create(
            todo,
            tree,
            track(sources),
            panoptic=panoptic,
            instance=instance,
            overwrite=overwrite,
            published_areas=published_areas,
        )
    return Preparation((panoptic, instance), image_count=len(sources))


def _create(
    todo: Sequence[Path],
    tree: FileTree,
    sources: Iterable[str],
    *,
    panoptic: Path,
    instance: Path,
    overwrite: bool,
    published_areas: bool,
) -> None:
    """Create the documents in `todo`, and the PNGs of the panoptic one."""
    categories = {panoptic: category_entries("ade20k"), instance: thing_entries()}
    next_id = 1
    with ExitStack() as stack:
        writers = {
            path: stack.enter_context(DocumentWriter(path, categories=categories[path])) for path in todo
        }
        for source in sources:
            stem = PurePosixPath(source).stem
            labels = _read_instances(tree, source)
            height, width, _ = labels.shape
            image = {"id": stem, "file_name": f"{stem}.jpg", "width": width, "height": height}
            if panoptic in writers:
                location = tree.describe(source)
                semantic = _read_semantic(tree, source, size=(height, width))
                id_map, segments = panoptic_from_labels(
                    semantic, labels, published_areas=published_areas, location=location
                )
                write_id_map(panoptic.with_suffix("") / f"{stem}.png", id_map, overwrite=overwrite)
                annotation = {"image_id": stem, "file_name": f"{stem}.png", "segments_info": segments}
                writers[panoptic].add(image, [annotation])
            if instance in writers:
                found = instance_annotations(labels, image_id=stem, first_id=next_id, location=source)
                writers[instance].add(image, found)
                next_id += len(found)


def panoptic_from_labels(
    semantic: Int32[np.ndarray, "height width"],
    labels: Int32[np.ndarray, "height width 3"],
    *,
    published_areas: bool,
    location: str,
) -> tuple[Int32[np.ndarray, "height width"], list[dict[str, Any]]]:
    """Draw instances over stuff; return the id map and its `segments_info`.

    Raises:
        DatasetError: The labels hold invalid values.
    """
    stuff = {category.id for category in Vocabulary.named("ade20k").categories if not category.is_thing}
    id_map = np.zeros(semantic.shape, dtype=np.int32)
    drawn: list[dict[str, Any]] = []
    for value in np.unique(semantic).tolist():
        if not 0 <= value <= CATEGORY_COUNT:
            raise DatasetError(f"{location}: pixels hold {value}. {SEMANTIC_ADVICE}")
        if value - 1 in stuff:
            mask = semantic == value
            id_map[mask] = value
            drawn.append(segment_entry(value, value - 1, mask))
    for number, category_id, mask in instance_masks(labels, location=location):
        id = category_id + 1 + 256 * number
        id_map[mask] = id
        drawn.append(segment_entry(id, category_id, mask))
    if published_areas:
        return id_map, drawn
    masks = ((entry, id_map == entry["id"]) for entry in drawn)
    return id_map, [
        segment_entry(entry["id"], entry["category_id"], mask) for entry, mask in masks if mask.any()
    ]


def _read_semantic(
    tree: FileTree, source: str, *, size: tuple[int, ...]
) -> Int32[np.ndarray, "height width"]:
    location = tree.describe(source)
    values = decode_values(tree.read(source), location=location)
    if values.shape != size:
        raise DatasetError(
            f"{location}: {values.shape[1]} × {values.shape[0]} pixels, but its instance labels have "
            f"{size[1]} × {size[0]}; use both from one release"
        )
    return values


def _read_instances(tree: FileTree, source: str) -> Int32[np.ndarray, "height width 3"]:
    path = source.replace("annotations/", "annotations_instance/", 1)
    return decode_channels(tree.read(path, advice=ADVICE), location=tree.describe(path))
