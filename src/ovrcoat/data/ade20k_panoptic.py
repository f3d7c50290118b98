"""ADE20K's panoptic and instance files, made from semantic and instance labels as the published script does.

Stuff comes from the semantic labels, things from the instance labels, which are laid over it; what is neither
is void. Segment ids are our own and always the same: category id + 1 in R, the instance's number in G.
"""

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
    segment_entry,
    write_ids,
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
    """Make ade20k_panoptic_{split}/*.png and .json and ade20k_instance_{split}.json; those that exist stay.

    With `published_areas` the JSON has what the published script writes: areas and boxes from before
    instances were laid over stuff, and segments that are covered altogether. Published numbers are made with
    these; PQ of such a truth against itself is below 100.

    Raises:
        DatasetError: labels are missing or faulty, or there is no such split.
        OutputError: a file cannot be written, or another program's is in the way.
        MissingExtraError: pycocotools is not installed.
    """
    check_split(split, tuple(FOLDERS), name="ade20k")
    import_optional("pycocotools.mask", extra="coco")  # better said now than after the work
    tree = FileTree(root, home=HOME)
    sources = tree.list(f"annotations/{FOLDERS[split]}", suffixes=(".png",))
    if not sources:
        raise tree.missing(f"annotations/{FOLDERS[split]}/", advice=ADVICE)
    folder = tree.output_folder(sources[0])
    panoptic, instance = folder / f"ade20k_panoptic_{split}.json", folder / f"ade20k_instance_{split}.json"
    todo = [path for path in (panoptic, instance) if overwrite or not path.exists()]
    if not todo:
        return Preparation((panoptic, instance), made=0)
    with ExitStack() as stack:
        categories = {panoptic: category_entries("ade20k"), instance: thing_entries()}
        writers = {
            path: stack.enter_context(DocumentWriter(path, categories=categories[path])) for path in todo
        }
        next_id = 1
        for source in track(sources):
            stem = PurePosixPath(source).stem
            labels = _read_instances(tree, source)
            image = {
                "id": stem,
                "file_name": f"{stem}.jpg",
                "width": labels.shape[1],
                "height": labels.shape[0],
            }
            if panoptic in writers:
                semantic = _read_semantic(tree, source, size=labels.shape[:2])
                id_map, segments = panoptic_from_labels(
                    semantic, labels, published_areas=published_areas, place=tree.describe(source)
                )
                write_ids(panoptic.with_suffix("") / f"{stem}.png", id_map, overwrite=overwrite)
                annotation = {"image_id": stem, "file_name": f"{stem}.png", "segments_info": segments}
                writers[panoptic].add(image, [annotation])
            if instance in writers:
                found = instance_annotations(labels, image_id=stem, first_id=next_id, place=source)
                writers[instance].add(image, found)
                next_id += len(found)
    return Preparation((panoptic, instance), made=len(sources))


def panoptic_from_labels(
    semantic: Int32[np.ndarray, "height width"],
    labels: Int32[np.ndarray, "height width 3"],
    *,
    published_areas: bool,
    place: str,
) -> tuple[Int32[np.ndarray, "height width"], list[dict[str, Any]]]:
    """Lay instances over stuff: the id map and its `segments_info`.

    Raises:
        DatasetError: the labels hold values that do not exist.
    """
    stuff = {category.id for category in Vocabulary.named("ade20k").categories if not category.is_thing}
    id_map = np.zeros(semantic.shape, dtype=np.int32)
    before: list[dict[str, Any]] = []
    for value in np.unique(semantic).tolist():
        if not 0 <= value <= CATEGORY_COUNT:
            raise DatasetError(f"{place}: pixels hold {value}. {SEMANTIC_ADVICE}")
        if value - 1 in stuff:
            mask = semantic == value
            id_map[mask] = value
            before.append(segment_entry(value, value - 1, mask))
    for number, category_id, mask in instance_masks(labels, place=place):
        id = category_id + 1 + 256 * number
        id_map[mask] = id
        before.append(segment_entry(id, category_id, mask))
    if published_areas:
        return id_map, before
    masks = ((entry, id_map == entry["id"]) for entry in before)
    return id_map, [
        segment_entry(entry["id"], entry["category_id"], mask) for entry, mask in masks if mask.any()
    ]


def _read_semantic(
    tree: FileTree, source: str, *, size: tuple[int, ...]
) -> Int32[np.ndarray, "height width"]:
    place = tree.describe(source)
    values = decode_values(tree.read(source), place=place)
    if values.shape != size:
        raise DatasetError(
            f"{place}: {values.shape[1]} × {values.shape[0]} pixels, its instance labels {size[1]} × "
            f"{size[0]}; take both from one release"
        )
    return values


def _read_instances(tree: FileTree, source: str) -> Int32[np.ndarray, "height width 3"]:
    path = source.replace("annotations/", "annotations_instance/", 1)
    return decode_channels(tree.read(path, advice=ADVICE), place=tree.describe(path))
