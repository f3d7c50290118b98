import pytest

from ovrcoat.errors import DatasetError
from ovrcoat.issues import MOST_EXAMPLES, IssueList


def test_issues_are_counted_by_kind_with_their_first_examples():
    issues = IssueList()
    for number in range(MOST_EXAMPLES + 2):
        issues.add("area-wrong", "areas are wrong", example=f"image {number}", level="warning")
    issues.add("file-missing", "a file is missing", example="image 0")
    assert [(issue.code, issue.count) for issue in issues] == [
        ("area-wrong", MOST_EXAMPLES + 2),
        ("file-missing", 1),
    ]
    assert len(issues) == 2
    assert "area-wrong" in issues
    assert "area-right" not in issues
    (warning,) = issues.of("warning")
    assert warning.to_dict()["examples"] == [f"image {number}" for number in range(MOST_EXAMPLES)]
    assert str(warning).startswith(f"areas are wrong ({MOST_EXAMPLES + 2} ×: image 0; image 1;")
    assert str(warning).endswith("…)")


def test_only_errors_are_raised_all_at_once():
    issues = IssueList()
    issues.add("note", "harmless", example="x", level="note")
    issues.raise_errors("truth.json")
    issues.add("first", "one thing", example="a")
    issues.add("second", "another", example="b")
    with pytest.raises(DatasetError, match=r"truth\.json cannot be used:\n- one thing .*\n- another"):
        issues.raise_errors("truth.json")
