"""Cityscapes' panoptic files, made from gtFine's instanceIds as the official script does.

Every value is one segment and its id; labels that are not evaluated become void. A value below 1000 is a
whole label: of a thing it is a group that nobody took apart, a crowd.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.cityscapes import ADVICE, HOME, SPLITS
from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_values
from ovrcoat.data.preparation import (
    DocumentWriter,
    Preparation,
    Track,
    category_entries,
    segment_entry,
    write_ids,
)
from ovrcoat.data.splits import check_split
from ovrcoat.vocabulary import Vocabulary

SUFFIX = "_gtFine_instanceIds.png"
PER_LABEL = 1000  # instance ids are label id * 1000 + number


def prepare_cityscapes(
    root: Path, split: str = "val", *, overwrite: bool = False, track: Track = iter
) -> Preparation:
    """Make gtFine/cityscapes_panoptic_{split}/*.png and .json; a JSON that exists stays.

    Raises:
        DatasetError: labels are missing or faulty, or there is no such split.
        OutputError: a file cannot be written, or another program's is in the way.
    """
    check_split(split, SPLITS, name="cityscapes")
    tree = FileTree(root, home=HOME)
    sources = tree.list(f"gtFine/{split}", suffixes=(SUFFIX.lower(),))
    if not sources:
        raise tree.missing(f"gtFine/{split}/*/*{SUFFIX}", advice=ADVICE)
    document = tree.output_folder(sources[0]) / f"gtFine/cityscapes_panoptic_{split}.json"
    if document.exists() and not overwrite:
        return Preparation((document,), made=0)
    with DocumentWriter(document, categories=category_entries("cityscapes")) as writer:
        for source in track(sources):
            image_id = PurePosixPath(source).name.removesuffix(SUFFIX)
            values = decode_values(tree.read(source), place=tree.describe(source))
            id_map, segments = panoptic_from_instance_ids(values)
            file_name = f"{image_id}_gtFine_panoptic.png"
            write_ids(document.with_suffix("") / file_name, id_map, overwrite=overwrite)
            height, width = values.shape
            image = {
                "id": image_id,
                "file_name": f"{image_id}_leftImg8bit.png",
                "width": width,
                "height": height,
            }
            annotation = {"image_id": image_id, "file_name": file_name, "segments_info": segments}
            writer.add(image, [annotation])
    return Preparation((document,), made=len(sources))


def panoptic_from_instance_ids(
    values: Int32[np.ndarray, "height width"],
) -> tuple[Int32[np.ndarray, "height width"], list[dict[str, Any]]]:
    """The id map of the evaluated labels, and its `segments_info`."""
    is_thing = {category.id: category.is_thing for category in Vocabulary.named("cityscapes").categories}
    id_map = np.zeros(values.shape, dtype=np.int32)
    segments = []
    for value in np.unique(values).tolist():
        label = value if value < PER_LABEL else value // PER_LABEL
        if label in is_thing:
            mask = values == value
            id_map[mask] = value
            is_crowd = is_thing[label] and value < PER_LABEL
            segments.append(segment_entry(value, label, mask, is_crowd=is_crowd))
    return id_map, segments
