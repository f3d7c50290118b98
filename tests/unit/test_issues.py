import pytest

from ovrcoat.errors import DatasetError
from ovrcoat.issues import MAX_EXAMPLES, Issue, IssueCatalog, IssueList

CATALOG: IssueCatalog = {
    "png-missing": ("error", "a PNG is missing"),
    "png-large": ("note", "a PNG is large"),
}


def test_issues_are_counted_by_code_with_their_first_examples():
    issues = IssueList()
    for number in range(MAX_EXAMPLES + 2):
        issues.add("area-wrong", "areas are wrong", example=f"image {number}", severity="warning")
    issues.add("file-missing", "a file is missing", example="image 0")
    assert [(issue.code, issue.count) for issue in issues] == [
        ("area-wrong", MAX_EXAMPLES + 2),
        ("file-missing", 1),
    ]
    assert len(issues) == 2
    assert "area-wrong" in issues
    assert "area-right" not in issues
    (warning,) = issues.with_severity("warning")
    assert warning.to_dict()["examples"] == [f"image {number}" for number in range(MAX_EXAMPLES)]
    assert str(warning).startswith(f"areas are wrong ({MAX_EXAMPLES + 2} ×: image 0; image 1;")
    assert str(warning).endswith("…)")


def test_reported_issues_take_severity_and_message_from_the_catalog():
    issues = IssueList(CATALOG)
    issues.report("png-missing", "a.png")
    issues.report("png-missing", "b.png")
    issues.report("png-large", "c.png")
    assert list(issues) == [
        Issue("error", "png-missing", "a PNG is missing", ["a.png", "b.png"], 2),
        Issue("note", "png-large", "a PNG is large", ["c.png"], 1),
    ]
    with pytest.raises(KeyError, match="png-unknown"):
        issues.report("png-unknown", "d.png")


def test_an_issue_survives_its_dictionary():
    issue = Issue("warning", "areas-differ", "areas differ", ["image 1"], 7, where="truth.json")
    assert Issue(**issue.to_dict()) == issue


@pytest.mark.parametrize(
    ("issue", "text"),
    [
        (Issue("warning", "repeat", "a name repeats"), "a name repeats"),
        (Issue("error", "size", "too large", where="a.png"), "a.png: too large"),
        (Issue("error", "size", "too large", ["b"], 2, "a.png"), "a.png: too large (2 ×: b …)"),
    ],
)
def test_an_issue_reads_well_with_and_without_location_and_examples(issue: Issue, text: str):
    assert str(issue) == text


def test_only_errors_are_raised_all_at_once():
    issues = IssueList()
    issues.add("note", "harmless", example="x", severity="note")
    issues.add("warning", "doubtful", example="x", severity="warning")
    issues.raise_errors("truth.json")
    issues.add("first", "one thing", example="a")
    issues.add("second", "another", example="b")
    message = r"truth\.json cannot be used:\n- one thing .*\n- another .*\n- warning: doubtful \(1 ×: x\)$"
    with pytest.raises(DatasetError, match=message):
        issues.raise_errors("truth.json")
    with pytest.raises(DatasetError, match=r"truth\.json cannot be scored:\n"):
        issues.raise_errors("truth.json", outcome="cannot be scored")
