"""Options and labels that ask for endless work."""

import json
from pathlib import Path
from typing import Any

import pytest

from hostile.harness import Zygote, run_process
from hostile.scenes import SCENES


@pytest.mark.parametrize("categories", ["999999", "9" * 20, "0", "-1", "1e9", "70000", "5000", "NaN", "٣"])
def test_categories_of_label_maps(categories: str, tmp_path: Path, zygote: Zygote):
    SCENES["label map"].build(tmp_path)
    zygote.command(
        "score", "--task", "semantic", "--truth-dir", tmp_path / "truth",
        "--prediction-dir", tmp_path / "found", "--categories", categories,
    ).assert_harmless()  # fmt: skip


def segments(count: int) -> list[dict[str, Any]]:
    return [
        {"id": n, "category_id": 1, "area": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1]}
        for n in range(1, count + 1)
    ]


MANY: dict[str, Any] = {
    "a million segments of one image": lambda document: document["annotations"][0].update(
        segments_info=segments(1_000_000)
    ),
    "equal segments": lambda document: document["annotations"][0].update(segments_info=segments(1) * 200_000),
    "200,000 annotations": lambda document: document.update(
        annotations=[{"image_id": n, "file_name": f"{n}.png", "segments_info": []} for n in range(200_000)]
    ),
    "200,000 equal annotations": lambda document: document.update(
        annotations=document["annotations"] * 100_000
    ),
    "200,000 images": lambda document: document.update(
        images=[{"id": n, "file_name": f"{n}.png", "width": 4, "height": 3} for n in range(200_000)]
    ),
    "50,000 categories": lambda document: document.update(
        categories=[{"id": n, "name": f"a{n}", "isthing": 1} for n in range(50_000)]
    ),
    "huge ids": lambda document: document["annotations"][0].update(
        segments_info=[{"id": 2**70, "category_id": 2**70, "area": 2**70, "iscrowd": 0}]
    ),
}


@pytest.mark.parametrize("name", ["truth json", "prediction json", "panoptic folder"])
@pytest.mark.parametrize("kind", MANY)
def test_many_segments(kind: str, name: str, tmp_path: Path, zygote: Zygote):
    SCENES[name].build(tmp_path)
    victim = tmp_path / SCENES[name].victim
    document = json.loads(victim.read_text())
    document.setdefault("images", [])
    MANY[kind](document)
    victim.write_text(json.dumps(document))
    SCENES[name].run(zygote, victim).assert_harmless()


SHAPES: dict[str, Any] = {
    "coordinates of 10⁹": [[0, 0, 1e9, 0, 1e9, 1e9]],
    "coordinates of ±10¹⁴": [[-1e14, -1e14, 1e14, 0, 1e14, 1e14]],
    "coordinates of 10³⁰⁸": [[0, 0, 1e308, 0, 1e308, 1e308]],
    "coordinates of 10⁸": [[0, 0, 1e8, 0, 1e8, 1e8]],
    "100,000 polygons": [[0, 0, 3, 0, 3, 3]] * 100_000,
    "a polygon of a million points": [[0, 1] * 1_000_000],
    "runs of 10⁹": {"size": [4, 6], "counts": [0, 10**9]},
    "a mask of 2⁴⁰ pixels": {"size": [2**20, 2**20], "counts": [0, 2**40]},
    "a million runs": {"size": [4, 6], "counts": [0] * 1_000_000 + [24]},
    "compressed runs of 1 MB": {"size": [4, 6], "counts": "o" * 1_000_000},
    "compressed runs beyond ASCII": {"size": [4, 6], "counts": "é☃" * 1_000},
    "negative runs": {"size": [4, 6], "counts": [-5, 29]},
}


@pytest.mark.parametrize("name", ["instances json", "results json", "instances folder"])
@pytest.mark.parametrize("kind", SHAPES)
def test_shapes(kind: str, name: str, tmp_path: Path, zygote: Zygote):
    SCENES[name].build(tmp_path)
    victim = tmp_path / SCENES[name].victim
    document = json.loads(victim.read_text())
    entry = document[0] if name == "results json" else document["annotations"][0]
    entry["segmentation"] = SHAPES[kind]
    victim.write_text(json.dumps(document))
    SCENES[name].run(zygote, victim).assert_harmless()


LIMITS = {"text": "many", "negative": "-1", "nothing": "0", "huge": "9" * 30, "a fraction": "1.5"}


@pytest.mark.parametrize("kind", LIMITS)
def test_a_limit_that_is_no_number(kind: str, tmp_path: Path):
    """The environment variables that raise limits are checked, too."""
    path = tmp_path / "v.txt"
    path.write_text("cat\n")
    environment = {"OVRCOAT_MAX_VOCABULARY_MIB": LIMITS[kind]}
    run_process("vocabularies", path, variables=environment).assert_refused("OVRCOAT_MAX_VOCABULARY_MIB")
