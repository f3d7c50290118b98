"""Datasets of polygons can be trained on, too."""

import json
from pathlib import Path

import tiny_training
from ovrcoat.data.catalog import open_dataset
from ovrcoat.training.config import DataConfig
from ovrcoat.training.data_checks import check_data
from ovrcoat.training.samples import map_categories
from ovrcoat.training.sources import open_source
from ovrcoat.vocabulary import Vocabulary


def test_a_yolo_folder_with_an_image_without_objects_passes_the_checks(tmp_path: Path):
    folder = tiny_training.make_images(tmp_path / "mine", [(1, 2), (2, 1)])
    (folder / "panoptic.json").unlink()
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [cat, zebra]\n")
    (folder / "labels" / "mine0.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9\n")
    (folder / "labels" / "mine1.txt").write_text("")
    source = open_source(DataConfig(path=str(folder)), base=tmp_path)
    categories = Vocabulary.parse("cat").categories
    summary = check_data(
        [source], [map_categories(source.dataset.categories, categories)], class_names=["cat"]
    )
    assert (summary.images, summary.named_categories, summary.categories) == (2, 1, 1)
    assert len(source.image(source.records[0]).truth.segments) == 1


def test_polygons_of_a_coco_json_are_compared_when_a_run_is_resumed(tmp_path: Path):
    folder = tiny_training.make_images(tmp_path / "mine", [(1, 2)])
    (folder / "panoptic.json").unlink()
    polygon = [1.0, 1.0, 30.0, 1.0, 30.0, 30.0]
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "iscrowd": 0, "bbox": [1, 1, 29, 29]}
    document = {
        "images": [{"id": 0, "file_name": "mine0.png", "height": 36, "width": 48}],
        "annotations": [annotation | {"segmentation": [polygon]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = folder / "_annotations.coco.json"
    path.write_text(json.dumps(document))
    before = open_dataset(folder).fingerprint()
    assert open_dataset(folder).fingerprint() == before
    document["annotations"] = [annotation | {"segmentation": [[*polygon[:-1], 20.0]]}]
    path.write_text(json.dumps(document))
    assert open_dataset(folder).fingerprint() != before
