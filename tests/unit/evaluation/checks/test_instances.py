"""Every known issue of files for mask AP is found; valid files have none."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.evaluation.checks.instance_issues import INSTANCE_ISSUES
from ovrcoat.evaluation.checks.instances import check_instances

RUNS = {"size": [4, 5], "counts": [5, 3, 12]}  # 3 pixels
TRUTH: dict[str, Any] = {
    "images": [{"id": 1, "width": 5, "height": 4}, {"id": 2, "width": 5, "height": 4}],
    "categories": [{"id": 7, "name": "bed"}, {"id": 8, "name": "window"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0, "area": 3, "segmentation": RUNS},
        {
            "id": 2,
            "image_id": 2,
            "category_id": 8,
            "iscrowd": 1,
            "area": 6,
            "segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]],
        },
    ],
}
RESULTS: list[Any] = [
    {"image_id": 1, "category_id": 7, "score": 0.5, "segmentation": RUNS},
    {"image_id": 2, "category_id": 8, "score": 1, "segmentation": RUNS},
]
Edit = Callable[[Any, Any], object]


def _sets(part: str, **values: Any) -> Edit:
    """Changes the first entry of a part; None takes a key away."""

    def edit(truth: Any, results: Any) -> None:
        entry = (results if part == "results" else truth[part])[0]
        entry.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del entry[key]

    return edit


def _text_ids(truth: Any, results: Any) -> None:
    for entry in truth["images"]:
        entry["id"] = f"ADE_{entry['id']}"
    for entry in [*truth["annotations"], *results]:
        entry["image_id"] = f"ADE_{entry['image_id']}"


CASES: dict[str, tuple[Edit, str]] = {
    "instances-malformed": (lambda truth, _: truth.update(categories=None), "categories: NoneType"),
    "no-images": (lambda truth, _: truth["images"].clear(), "images: 0"),
    "no-annotations": (lambda truth, _: truth["annotations"].clear(), "annotations: 0"),
    "image-id-invalid": (_sets("images", id=1.5), "1.5"),
    "image-id-text": (_text_ids, "'ADE_1'"),
    "image-listed-twice": (_sets("images", id=2), "2"),
    "image-too-large": (_sets("images", width=2**31, height=2), "image 1: 2147483648 × 2"),
    "image-size-missing": (_sets("images", width=None), "image 1: width None, height 4"),
    "category-invalid": (_sets("categories", id="7"), "'bed': id '7'"),
    "category-listed-twice": (_sets("categories", id=8), "8: 'window'"),
    "annotation-id-invalid": (_sets("annotations", id=None), "annotation 'no. 1': id None"),
    "annotation-id-zero": (_sets("annotations", id=0), "annotation 0"),
    "annotation-id-twice": (_sets("annotations", id=2), "annotation 2"),
    "annotation-image-unknown": (_sets("annotations", image_id=9), "annotation 1: image 9"),
    "annotation-category-unknown": (_sets("annotations", category_id=0), "annotation 1: category 0"),
    "iscrowd-missing": (_sets("annotations", iscrowd=None), "annotation 1: iscrowd None"),
    "area-missing": (_sets("annotations", area=None), "annotation 1: area None"),
    "area-differs": (_sets("annotations", area=20), "annotation 1: area 20, mask 3"),
    "mask-missing": (_sets("annotations", segmentation=None), "annotation 1: no segmentation"),
    "mask-damaged": (
        _sets("annotations", segmentation={"size": [4, 5], "counts": [3]}),
        "annotation 1: runs of 3 pixels in total, expected 20",
    ),
    "mask-size-differs": (
        _sets("annotations", segmentation={"size": [5, 4], "counts": [20]}),
        "annotation 1: mask 4 × 5, image 5 × 4 (width × height), height and width are swapped",
    ),
    "polygon-too-few-points": (
        _sets("annotations", segmentation=[[0, 0, 3, 3]]),
        "annotation 1: a polygon of 2 points",
    ),
    "mask-empty": (
        _sets("annotations", area=0, segmentation={"size": [4, 5], "counts": [20]}),
        "annotation 1",
    ),
    "results-malformed": (lambda _, results: results.insert(0, "x"), "result no. 1: str"),
    "results-empty": (lambda _, results: results.clear(), "results: 0"),
    "result-image-unknown": (_sets("results", image_id=3), "result no. 1: image 3"),
    "image-id-type-differs": (_sets("results", image_id="1"), "result no. 1: image '1'"),
    "result-category-unknown": (_sets("results", category_id=0), "result no. 1: category 0"),
    "result-mask-missing": (_sets("results", segmentation=None), "result no. 1: no segmentation"),
    "result-mask-damaged": (
        _sets("results", segmentation={"size": [4, 5], "counts": "???"}),
        "result no. 1: runs of",
    ),
    "result-mask-size-differs": (
        _sets("results", segmentation={"size": [8, 10], "counts": [80]}),
        "result no. 1: mask 10 × 8, image 5 × 4",
    ),
    "result-polygon-too-few-points": (
        _sets("results", segmentation=[[1, 1, 2, 2]]),
        "result no. 1: a polygon",
    ),
    "result-mask-empty": (_sets("results", segmentation={"size": [4, 5], "counts": [20]}), "result no. 1"),
    "score-missing": (_sets("results", score=None), "result no. 1"),
    "score-invalid": (_sets("results", score=math.nan), "result no. 1: score nan"),
    "score-out-of-range": (_sets("results", score=97.5), "result no. 1: score 97.5"),
    "result-boxes": (_sets("results", bbox=[0, 0, 1, 1]), "result no. 1"),
    "result-twice": (
        lambda _, results: results.append(results[0] | {"score": 0.1}),
        "result no. 3: image 1, category 7",
    ),
    "more-than-100-detections": (
        lambda _, results: results.extend(
            {**results[0], "segmentation": {"size": [4, 5], "counts": [0, 1 + i % 19, 19 - i % 19]}}
            for i in range(100)
        ),
        "image 1, category 7: 101",
    ),
}


def test_good_files_have_no_issues() -> None:
    assert list(check_instances(TRUTH, RESULTS)) == []
    assert list(check_instances(TRUTH, None)) == []


def test_every_issue_has_a_case() -> None:
    assert set(CASES) == set(INSTANCE_ISSUES)


@pytest.mark.parametrize("code", INSTANCE_ISSUES)
def test_issue_is_found(code: str) -> None:
    edit, example = CASES[code]
    truth, results = copy.deepcopy(TRUTH), copy.deepcopy(RESULTS)
    edit(truth, results)
    found = {issue.code: issue for issue in check_instances(truth, results)}
    assert code in found
    assert found[code].severity == INSTANCE_ISSUES[code][0]
    assert found[code].examples[0].startswith(example)


@pytest.mark.parametrize(
    "code",
    [
        code
        for code in INSTANCE_ISSUES
        if INSTANCE_ISSUES[code][0] != "error" and code not in ("no-annotations", "results-empty")
    ],
)
def test_warnings_alone_are_not_errors(code: str) -> None:
    truth, results = copy.deepcopy(TRUTH), copy.deepcopy(RESULTS)
    CASES[code][0](truth, results)
    if code == "more-than-100-detections":
        results = [result for index, result in enumerate(results) if index != 1]
        found = {issue.code for issue in check_instances(truth, results)} - {"result-twice"}
    else:
        found = {issue.code for issue in check_instances(truth, results)}
    assert found == {code}


def test_number_ids_meet_text_ids_in_both_directions() -> None:
    truth, results = copy.deepcopy(TRUTH), copy.deepcopy(RESULTS)
    for entry in truth["images"]:
        entry["id"] = str(entry["id"])
    for entry in truth["annotations"]:
        entry["image_id"] = str(entry["image_id"])
    found = check_instances(truth, results)
    assert "image-id-type-differs" in found
    assert "result-image-unknown" not in found


def test_an_infinite_or_textual_score_is_no_number() -> None:
    for score in (math.inf, "0.5", True):
        results = [RESULTS[0] | {"score": score}]
        assert "score-invalid" in check_instances(TRUTH, results)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*"xy", "id", "image_id", "category_id", "segmentation", "size", "counts", "area"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    truth=st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), json_values),
    results=st.none() | st.lists(json_values, max_size=3),
)
def test_nothing_that_json_can_hold_raises(truth: dict[str, Any], results: list[Any] | None) -> None:
    assert len(check_instances(truth, results)) > 0
