import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.reports.report import FORMAT, EvaluationReport, ImageTallies, trust_key
from ovrcoat.issues import Issue
from ovrcoat.system.input_files import SizeLimit
from sample_reports import random_report


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_json_preserves_the_report(seed: int, images: int):
    report = random_report(seed, images=images)
    assert EvaluationReport.from_json(report.to_json()) == report


@given(
    image_id=st.integers(0, 2**40) | st.text(),
    tallies=st.dictionaries(
        st.integers(0, 2**31),
        st.tuples(*[st.integers(0, 2**53)] * 3, st.floats(0, 1e9)),
        max_size=4,
    ),
)
def test_tallies_keep_type_and_every_digit(image_id: int | str, tallies: dict):
    image = ImageTallies(image_id=image_id, panoptic={"0.5": tallies})
    again = ImageTallies.model_validate_json(image.model_dump_json())
    assert again == image
    assert type(again.image_id) is type(image_id)


def test_document_has_the_published_keys():
    report = random_report(0)
    document = json.loads(report.to_json())
    assert document["format"] == FORMAT
    assert set(document["runs"][0]) == {"trust", "panoptic", "semantic", "instance", "error_analysis"}
    assert {"mIoU", "fwIoU", "mACC", "pACC"} < set(document["runs"][0]["semantic"])
    assert set(document["images"][0]["panoptic"]) == {"0", "0.5"}
    assert document == report.to_dict()


def test_issues_survive():
    issue = Issue("warning", "areas-differ", "areas differ", ["image 1"], 7)
    report = random_report(0).model_copy(update={"issues": (issue,)})
    assert EvaluationReport.from_json(report.to_json()).issues == (issue,)


def test_a_run_is_found_by_its_trust():
    report = random_report(0)
    assert report.run(0.5).trust == 0.5
    assert report.trusts == (0.0, 0.5)
    with pytest.raises(DatasetError, match=r"no numbers for γ = 0\.3, only for 0, 0\.5"):
        report.run(0.3)


@pytest.mark.parametrize(("trust", "key"), [(0.0, "0"), (1.0, "1"), (0.5, "0.5"), (0.25, "0.25")])
def test_key_of_a_trust(trust: float, key: str):
    assert trust_key(trust) == key


def changed(**changes: object) -> str:
    return json.dumps(random_report(0).to_dict() | changes)


def without_vocabulary_entry() -> str:
    document = random_report(0).to_dict()
    document["vocabulary"]["categories"] = document["vocabulary"]["categories"][:3]
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON, or truncated"),
        (random_report(0).to_json()[:-50], "not valid JSON, or truncated"),
        ("[" * 100_000, "not valid JSON, or truncated"),
        ("[]", "not a report of ovrcoat evaluate"),
        ("{}", r"not a report .*model: Field required.*\(and \d+ more\)"),
        (
            changed(format="ovrcoat evaluation 1"),
            "format is 'ovrcoat evaluation 1', expected 'ovrcoat evaluation 2'",
        ),
        (changed(runs=[]), "runs: Tuple should have at least 1 item"),
        (changed(runs=[{"trust": 0.5}, {"trust": 0.5}]), "duplicate γ"),
        (changed(runs=[{"trust": 1.5}]), "less than or equal to 1"),
        (changed(images=[{"image_id": 1}, {"image_id": 1}]), "duplicate image_id"),
        (changed(images=[{"image_id": 1, "panoptic": {"0": {"99": [1, 0, 0, 1]}}}]), "category 99, which is"),
        (changed(images=[{"image_id": 1, "panoptic": {"0": {"1": [-1, 0, 0, 1]}}}]), "greater than or equal"),
        (changed(vocabulary={"categories": 3}), "vocabulary: this is not a saved vocabulary"),
        (without_vocabulary_entry(), "iou and acc have 4 and 4 entries, expected one for each of the 3"),
    ],
)
def test_an_invalid_document_is_rejected(text: str, message: str):
    with pytest.raises(DatasetError, match=message):
        EvaluationReport.from_json(text)


def test_reading_a_file(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    with pytest.raises(DatasetError, match=r"cannot read the report .*No such file.*pass the report\.json"):
        EvaluationReport.read(path)
    path.write_text(random_report(3).to_json(), encoding="utf-8")
    assert EvaluationReport.read(path) == random_report(3).model_copy(
        update={"created": EvaluationReport.read(path).created}
    )
    monkeypatch.setattr("ovrcoat.evaluation.reports.report.REPORT", SizeLimit(10, "NO_VARIABLE", unit=1))
    with pytest.raises(DatasetError, match="expected at most 10"):
        EvaluationReport.read(path)
