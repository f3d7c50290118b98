import pytest

from ovrcoat.issues import MOST_EXAMPLES, Findings
from ovrcoat.errors import DatasetError


def test_findings_are_counted_by_kind_with_their_first_examples():
    findings = Findings()
    for number in range(MOST_EXAMPLES + 2):
        findings.add("area-wrong", "areas are wrong", example=f"photo {number}", level="warning")
    findings.add("file-missing", "a file is missing", example="photo 0")
    assert [(finding.code, finding.count) for finding in findings] == [
        ("area-wrong", MOST_EXAMPLES + 2),
        ("file-missing", 1),
    ]
    assert len(findings) == 2
    assert "area-wrong" in findings
    assert "area-right" not in findings
    (warning,) = findings.of("warning")
    assert warning.to_dict()["examples"] == [f"photo {number}" for number in range(MOST_EXAMPLES)]
    assert str(warning).startswith(f"areas are wrong ({MOST_EXAMPLES + 2} ×: photo 0; photo 1;")
    assert str(warning).endswith("…)")


def test_only_errors_are_raised_all_at_once():
    findings = Findings()
    findings.add("note", "harmless", example="x", level="note")
    findings.raise_errors("truth.json")
    findings.add("first", "one thing", example="a")
    findings.add("second", "another", example="b")
    with pytest.raises(DatasetError, match=r"truth\.json cannot be used:\n- one thing .*\n- another"):
        findings.raise_errors("truth.json")
