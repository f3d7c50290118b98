"""The table of segments without a matching mask."""

from pathlib import Path

import numpy as np

from ovrcoat import Segmenter
from ovrcoat.data.catalog import open_dataset
from tool_modules import load_tool

from .nano_images import EDGE, labeled_folder


def test_segments_without_a_mask_are_counted_by_size():
    tool = load_tool("nano/masks_by_size")
    measured = {"a.jpg": np.array([[0.05, 0.2], [0.05, 0.6]]), "b.jpg": np.array([[20, 0.9], [20, 0.5]])}
    assert tool.table(measured).splitlines()[2:] == [
        "| 0 to 0.1 | 2 | 50.0 % | 0.40 |",
        "| 10 to 30 | 2 | 50.0 % | 0.70 |",
        "| all | 4 | 50.0 % | 0.55 |",
    ]


def test_each_segment_but_crowds_has_a_size_and_an_iou(tmp_path: Path, tiny_segmenter: Segmenter):
    tool = load_tool("nano/masks_by_size")
    dataset = open_dataset(labeled_folder(tmp_path / "images", images=2))
    measured = tool.best_masks(tiny_segmenter, dataset, dataset.records)
    assert list(measured) == [record.image for record in dataset.records]
    for segments in measured.values():  # cat, sky and a tiny dog
        np.testing.assert_allclose(segments[:, 0], 100 * np.array([779, 680, 1]) / EDGE**2)
        assert ((segments[:, 1] >= 0) & (segments[:, 1] <= 1)).all()


def test_the_images_with_the_most_segments_without_a_mask_are_listed():
    tool = load_tool("nano/masks_by_size")
    measured = {
        f"{missing}.jpg": np.array([[1, 0.2]] * missing + [[1, 0.9]] * (5 - missing)) for missing in range(5)
    }
    assert tool.worst_images(measured).splitlines()[2:] == [
        "| 4.jpg | 5 | 4 |",
        "| 3.jpg | 5 | 3 |",
        "| 2.jpg | 5 | 2 |",
        "| 2 others | 10 | 1 |",
    ]
