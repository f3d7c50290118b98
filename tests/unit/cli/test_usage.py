"""What is typed wrongly gets one line in plain words."""

import pytest

from ovrcoat.cli import main
from ovrcoat.cli.usage import normalized

SEGMENT = "See: ovrcoat segment --help"


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        (["segment"], f"ovrcoat segment needs SOURCES. {SEGMENT}"),
        (
            ["segment", "a.jpg", "--trust", "0,0.5"],
            f"--trust: '0,0.5' is not valid; expected a number or adaptive. {SEGMENT}",
        ),
        (
            ["segment", "a.jpg", "--batch-size", "x"],
            f"--batch-size: 'x' is not valid; expected a whole number. {SEGMENT}",
        ),
        (
            ["segment", "a.jpg", "--vocabulary"],
            f"the option --vocabulary is missing or has no value. {SEGMENT}",
        ),
        (
            ["segment", "a.jpg", "--quiet", "--vocablary", "cat"],
            f"Unknown option: --vocablary. Did you mean --vocabulary? {SEGMENT}",
        ),
        (
            ["models", "extra"],
            "ovrcoat models does not take the argument 'extra'; quote values that contain spaces. "
            "See: ovrcoat models --help",
        ),
        (["evaluate"], "the option --data is missing or has no value. See: ovrcoat evaluate --help"),
    ],
)
def test_one_line_in_plain_words(tokens: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert main(tokens) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {line}\n")


def test_an_unknown_verb_is_corrected(capsys: pytest.CaptureFixture[str]):
    assert main(["segmnt", "a.jpg"]) == 2
    assert 'Did you mean "segment"?' in capsys.readouterr().err


@pytest.mark.parametrize("tokens", [["help"], ["help", "segment"], ["--help"]])
def test_help_is_a_verb_too(tokens: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(tokens) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert ("--vocabulary" in out) == (tokens == ["help", "segment"])


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["score", "--json"], ["score", "--json", "-"]),
        (["score", "--json", "--quiet"], ["score", "--json", "-", "--quiet"]),
        (["score", "--json", "a.json"], ["score", "--json", "a.json"]),
        (["score", "--json", "-"], ["score", "--json", "-"]),
        (["segment", "a.jpg", "--json"], ["segment", "a.jpg", "--json"]),
        (["segment", "score", "--json"], ["segment", "score", "--json"]),
    ],
)
def test_json_without_a_file_is_stdout(tokens: list[str], expected: list[str]):
    assert normalized(tokens) == expected
