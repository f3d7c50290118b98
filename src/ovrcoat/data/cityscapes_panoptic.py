"""Create Cityscapes' panoptic files from gtFine's instanceIds, as the official script does.

Each value is one segment, and its id. Labels that are not evaluated become void. Values below 1000 are label
ids without an instance: for a thing this is a group that the annotators did not separate, so a crowd.
"""

from collections.abc import Iterable
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
    exclusive,
    segment_entry,
    write_id_map,
)
from ovrcoat.data.splits import check_split
from ovrcoat.vocabulary import Vocabulary

SUFFIX = "_gtFine_instanceIds.png"
PER_LABEL = 1000  # instance ids are label id * 1000 + number


def prepare_cityscapes(
    root: Path, split: str = "val", *, overwrite: bool = False, track: Track = iter
) -> Preparation:
    """Create gtFine/cityscapes_panoptic_{split}/*.png and .json.

    Args:
        root: Folder of the datasets, the dataset's own folder, or its zip file.
        split: "val" or "train".
        overwrite: Replace files that exist. Default: keep them.
        track: Wraps the list of label files, for example in a progress bar.

    Raises:
        DatasetError: Labels are missing or invalid, or the split does not exist.
        OutputError: A file cannot be written, or another program's file is in the way.
    """
    check_split(split, SPLITS, name="cityscapes")
    tree = FileTree(root, home=HOME)
    sources = tree.list(f"gtFine/{split}", suffixes=(SUFFIX.lower(),))
    if not sources:
        raise tree.missing(f"gtFine/{split}/*/*{SUFFIX}", advice=ADVICE)
    document = tree.output_folder(sources[0]) / f"gtFine/cityscapes_panoptic_{split}.json"
    with exclusive([document]):
        if document.exists() and not overwrite:
            return Preparation((document,), image_count=0)
        _create(document, tree, track(sources), overwrite=overwrite)
    return Preparation((document,), image_count=len(sources))


def _create(document: Path, tree: FileTree, sources: Iterable[str], *, overwrite: bool) -> None:
    """Create the PNGs, then the document."""
    with DocumentWriter(document, categories=category_entries("cityscapes")) as writer:
        for source in sources:
            image_id = PurePosixPath(source).name.removesuffix(SUFFIX)
            values = decode_values(tree.read(source), location=tree.describe(source))
            id_map, segments = panoptic_from_instance_ids(values)
            file_name = f"{image_id}_gtFine_panoptic.png"
            write_id_map(document.with_suffix("") / file_name, id_map, overwrite=overwrite)
            height, width = values.shape
            image = {
                "id": image_id,
                "file_name": f"{image_id}_leftImg8bit.png",
                "width": width,
                "height": height,
            }
            annotation = {"image_id": image_id, "file_name": file_name, "segments_info": segments}
            writer.add(image, [annotation])


def panoptic_from_instance_ids(
    values: Int32[np.ndarray, "height width"],
) -> tuple[Int32[np.ndarray, "height width"], list[dict[str, Any]]]:
    """Return the id map of the evaluated labels and its `segments_info`."""
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
