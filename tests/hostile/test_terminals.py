"""Names and messages with control, format and blank characters: shown escaped wherever people read them."""

import csv
import io
import json
import logging
import os
import re
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ovrcoat
from ovrcoat.cli import main
from ovrcoat.cli.terminal import print_error, print_note, print_table, warnings_as_lines
from ovrcoat.evaluation.reports.report import EvaluationReport
from ovrcoat.evaluation.reports.tables import CSV_COLUMNS, format_csv, format_markdown, format_text
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.visible_text import BLANKS, ESCAPED_KINDS, JOINERS, visible, visible_lines
from ovrcoat.training.progress import StageProgress
from sample_reports import random_report

HOSTILE = {
    "color": "\x1b[31mred\x1b[0m",
    "clears the screen": "\x1b[2J\x1b[H",
    "window title": "\x1b]0;title\x07",
    "hyperlink": "\x1b]8;;http://x.example\x1b\\text\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "8-bit control": "\x9b31mred\x9d0;title\x9c",
    "device query": "\x1b[c\x1b[6n",
    "overwrites the line": "harmless\rerror",
    "backspaces": "evil\b\b\b\bgood",
    "bell and form feed": "\x07\x0c\x0b",
    "shift out": "\x0e\x0f",
    "delete": "a\x7fb",
    "right to left": "photo\u202egpj.exe",
    "isolates": "a\u2066b\u2069c\u2067d",
    "direction marks": "a\u200eb\u200fc\u061cd",
    "zero width": "ca\u200bt",
    "joiner in Latin": "ca\u200dt",
    "byte order mark": "\ufeffcat",
    "soft hyphen": "ca\xadt",
    "tags": "cat\U000e0063\U000e0061",
    "line separator": "cat\u2028error: x\u2029",
    "next line": "cat\x85error: x",
    "file separators": "a\x1cb\x1dc\x1ed",
    "not UTF-8": "caf\udce9",
    "lone surrogate": "a\ud800b",
    "Hangul filler": "\u3164\uffa0\u115f",
    "empty Braille": "cat\u2800dog",
    "annotation": "a\ufff9b\ufffac\ufffb",
}
HARMLESS = [
    "cat",
    "Löwe",
    "日本語 犬",
    "نمی\u200cخواهم",
    "क\u094d\u200dष",
    "👩\u200d💻",
    "❤\ufe0f\u200d🔥",
    "a—b",
    "γ → ×",
    "é",
]
every_hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def is_clean(text: str) -> bool:
    """Whether a terminal shows the text as it is. Independent of the function that is tested."""
    return all(
        character in "\n"
        or (unicodedata.category(character) not in ESCAPED_KINDS and character not in BLANKS)
        for character in text
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch, tiny_segmenter: Segmenter) -> None:
    monkeypatch.setattr(Segmenter, "load", lambda model, **options: tiny_segmenter)


@every_hostile
def test_it_is_escaped_and_can_be_recognized(text: str):
    shown = visible(text)
    assert is_clean(shown)
    assert "\n" not in shown
    assert visible(shown) == shown
    assert "\\" in shown


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_not_touched(text: str):
    assert visible(text) == text


@given(st.text(max_size=40))
def test_any_text(text: str):
    shown = visible(text)
    assert visible(shown) == shown
    assert is_clean("".join(character for character in shown if character not in JOINERS))
    assert visible_lines(f"{text}\n").endswith("\n")


@every_hostile
def test_printers(text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: sys.stderr.write(f"{message}\n"))
    print_error(text)
    print_note(text)
    print_table(("name", text.replace("\n", "")), [(text, "1")])
    with warnings.catch_warnings(), warnings_as_lines(quiet=False):
        warnings.simplefilter("always")
        warnings.warn_explicit(text, UserWarning, str(Path(ovrcoat.__file__)), 1)
        warnings.warn_explicit(text, RuntimeWarning, "/lib/other.py", 1)
    shown = capsys.readouterr()
    assert is_clean(shown.out)
    assert is_clean(shown.err)
    assert [line[:7] for line in shown.err.splitlines()].count("error: ") == 1


@every_hostile
def test_usage_errors(text: str, capsys: pytest.CaptureFixture[str]):
    for arguments in ([f"--{text}"], [text], ["segment", "--trust", text], ["models", text]):
        assert main(arguments) in (1, 2)
    shown = capsys.readouterr()
    assert is_clean(shown.err)
    assert is_clean(shown.out)
    assert all(line.startswith("error: ") for line in shown.err.splitlines())


@every_hostile
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("tiny_model")
def test_file_and_class_names(folder: Path, text: str, capsys: pytest.CaptureFixture[str]):
    name = text.replace("/", "_")
    try:
        Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(folder / f"{name}.png")
    except (UnicodeEncodeError, OSError):
        name = "photo"
        Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(folder / "photo.png")
    categories = [{"id": 1, "name": f"cat{text}", "isthing": True}]
    Path("classes.json").write_text(json.dumps({"categories": categories}))
    options = ["--vocabulary", "classes.json", "--output", f"{name}-out"]
    main(["segment", f"{name}.png", f"missing{name}", *options])
    main(["segment", f"{name}.png", "--vocabulary", f"{text}.json"])
    main(["explain", f"{name}.png", "--vocabulary", "classes.json", "--point", "3,4"])
    main(["explain", f"missing{name}.png", "--vocabulary", "classes.json", "--debug"])
    main(["vocabularies", "classes.json"])
    shown = capsys.readouterr()
    assert shown.err
    assert is_clean(shown.out), ascii(shown.out)
    assert is_clean(shown.err), ascii(shown.err)


@every_hostile
def test_keys_of_documents(folder: Path, text: str, capsys: pytest.CaptureFixture[str]):
    document = {text: [text], "images": [{"id": text, "file_name": text, text: text}]}
    Path("hostile.json").write_text(json.dumps(document))
    Path("hostile.yaml").write_text(json.dumps(document))
    main(["check-data", "--truth", "hostile.json", "--truth-dir", "."])
    prediction = ["--prediction", "hostile.json", "--prediction-dir", "."]
    main(["score", "--truth", "hostile.json", "--truth-dir", ".", *prediction])
    main(["compare", "hostile.json", "hostile.json"])
    main(["train", "hostile.yaml"])
    path = os.fsdecode(text.encode("utf-8", "surrogatepass"))  # what Python makes of a path from a shell
    main(["check-data", path])
    main(["prepare", path])
    main(["convert", path, f"{path}.safetensors"])
    shown = capsys.readouterr()
    assert shown.err.count("error: ") >= 5
    assert is_clean(shown.out), ascii(shown.out)
    assert is_clean(shown.err), ascii(shown.err)


def report_with(text: str) -> EvaluationReport:
    report = random_report(1)
    first, *others = report.vocabulary["categories"]
    category = text.encode("utf-8", "replace").decode()  # vocabularies with lone surrogates are refused
    changes = {
        "model": report.model.model_copy(update={"name": text}),
        "data": report.data.model_copy(update={"name": text}),
        "vocabulary": report.vocabulary | {"categories": [first | {"name": category}, *others]},
        "protocol": report.protocol | {text: text},
    }
    return report.model_copy(update=changes)


@every_hostile
def test_reports(text: str, capsys: pytest.CaptureFixture[str]):
    report = report_with(text)
    assert is_clean(format_markdown(report))
    assert is_clean(format_csv(report))
    assert is_clean(visible_lines(format_text(report)))
    rows = list(csv.DictReader(io.StringIO(format_csv(report))))
    assert len(rows) == len(report.categories) * len(report.runs)


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        "=cmd|' /C calc'!A0",
        "+1",
        "-1+2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        '=HYPERLINK("http://x.example")',
        "\uff1d1",
        "a;=1",
        'a","=1',
        "a,=1",
        "a|=1",
    ],
)
def test_no_cell_is_a_formula(formula: str):
    rows = list(csv.reader(io.StringIO(format_csv(report_with(formula)))))
    names = {row[CSV_COLUMNS.index("name")] for row in rows[1:]}
    (changed,) = [name for name in names if "'" in name or "\\" in name]
    for separator in (None, ",", ";", "|", '"'):
        for part in changed.split(separator) if separator else [changed]:
            assert not part.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))


@pytest.mark.parametrize(
    "markup",
    [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "![x](http://x.example/a.png)",
        "[click](javascript:alert(1))",
        "a|b|c",
        "a\\|b",
        "`code`",
        "```",
        "&lt;b&gt;",
        "[ref]: http://x.example",
        "x\n# Heading",
        "x\n\n| a | b |",
    ],
)
def test_no_name_is_markup(markup: str):
    plain, text = format_markdown(report_with("toys")), format_markdown(report_with(markup))
    # none of these signs is left without a backslash, and every row of a table has as many columns
    unescaped = [re.sub(r"\\.", "", line) for line in text.splitlines()]
    assert not any(sign in line for line in unescaped[2:] for sign in "<`[]")
    assert [line.count("|") for line in unescaped] == [line.count("|") for line in plain.splitlines()]
    assert "&lt;b&gt;" not in text


@every_hostile
def test_logs(text: str, capsys: pytest.CaptureFixture[str]):
    with StageProgress("one", first_step=0, steps=2, enabled=True) as progress:
        progress.note(text)
    assert is_clean(capsys.readouterr().err)
    listening = pytest.importorskip("ovrcoat.server.listening")
    error = ValueError(text)
    record = logging.LogRecord("uvicorn", logging.ERROR, "x.py", 1, text, (), (ValueError, error, None))
    assert is_clean(listening.LogFormatter("%(levelname)s: %(message)s").format(record))


def test_json_keeps_the_text(folder: Path, capsys: pytest.CaptureFixture[str]):
    for name, status in (("ca\u202et", 2), ("👩\u200d💻", 0)):
        assert main(["vocabularies", f"{name}; dog", "--json"]) == status
        shown = capsys.readouterr().out
        assert shown.isascii()
        assert json.loads(shown)["categories"][0]["name"] == name


def test_the_page_sets_text_and_never_html():
    page = Path(ovrcoat.__file__).parent / "server" / "page"
    scripts = [*page.rglob("*.js"), *page.rglob("*.html")]
    assert len(scripts) > 20
    signs = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc", "setHTML")
    found = [(script.name, sign) for script in scripts for sign in signs if sign in script.read_text("utf-8")]
    assert found == []
