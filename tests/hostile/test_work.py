"""Options and labels that ask for endless work."""

import json
from collections.abc import Callable
from functools import cache, reduce
from operator import getitem
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


@cache
def numbered(item: str, count: int) -> str:
    """JSON of a list of items, with their number for "#". To encode a million dicts would take seconds."""
    return f"[{','.join(item.replace('#', str(number)) for number in range(1, count + 1))}]"


def repeated(items: list[Any], count: int) -> str:
    """JSON of a list that holds items again and again."""
    return f"[{','.join([json.dumps(items)[1:-1]] * count)}]"


SEGMENT = '{"id": #, "category_id": 1, "area": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1]}'
ANNOTATION = '{"image_id": #, "file_name": "#.png", "segments_info": []}'
IMAGE = '{"id": #, "file_name": "#.png", "width": 4, "height": 3}'
CATEGORY = '{"id": #, "name": "a#", "isthing": 1}'
HUGE_IDS = [{"id": 2**70, "category_id": 2**70, "area": 2**70, "iscrowd": 0}]
SEGMENTS = ("annotations", 0, "segments_info")
# Where in a panoptic document, and the JSON that replaces the value there.
MANY: dict[str, tuple[tuple[Any, ...], Callable[[dict[str, Any]], str]]] = {
    "a million segments of one image": (SEGMENTS, lambda document: numbered(SEGMENT, 1_000_000)),
    "equal segments": (SEGMENTS, lambda document: repeated([json.loads(SEGMENT.replace("#", "1"))], 200_000)),
    "200,000 annotations": (("annotations",), lambda document: numbered(ANNOTATION, 200_000)),
    "200,000 equal annotations": (
        ("annotations",),
        lambda document: repeated(document["annotations"], 100_000),
    ),
    "200,000 images": (("images",), lambda document: numbered(IMAGE, 200_000)),
    "50,000 categories": (("categories",), lambda document: numbered(CATEGORY, 50_000)),
    "huge ids": (SEGMENTS, lambda document: json.dumps(HUGE_IDS)),
}


@pytest.mark.parametrize("name", ["truth json", "prediction json", "panoptic folder"])
@pytest.mark.parametrize("kind", MANY)
def test_many_segments(kind: str, name: str, tmp_path: Path, zygote: Zygote):
    SCENES[name].build(tmp_path)
    victim = tmp_path / SCENES[name].victim
    document = json.loads(victim.read_text())
    document.setdefault("images", [])
    (*path, last), replacement = MANY[kind]
    many = replacement(document)
    reduce(getitem, path, document)[last] = "MANY"
    victim.write_text(json.dumps(document).replace('"MANY"', many))
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
