import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError

from ovrcoat.cli.compare import compare
from ovrcoat.errors import ConfigError, DatasetError
from sample_reports import random_report


@pytest.fixture
def reports(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for seed, path in enumerate(paths):
        path.write_text(random_report(seed).to_json(), encoding="utf-8")
    return paths


def run(*tokens: object) -> int:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.command(compare)
    return app(["compare", *map(str, tokens), *(() if "--samples" in tokens else ("--samples", "50"))])


def test_tables(reports, capsys):
    assert run(*reports, "--trust", 0.5) == 0
    text = capsys.readouterr().out
    assert text.startswith("A: tiny, γ = 0.5\nB: tiny, γ = 0.5\n12 images, 50 resamples")
    for text_part in ("95 % interval", "Unseen_Things", "mIoU", "largest gains", "largest losses"):
        assert text_part in text


def test_two_trusts_of_one_report_and_the_gain_by_frequency(reports, tmp_path, capsys):
    counts = tmp_path / "counts.json"
    counts.write_text('{"cat": 5, "dog": 500}')
    assert run(reports[0], "--trust-a", 0, "--trust-b", 0.5, "--training", counts) == 0
    text = capsys.readouterr().out
    assert "A: tiny, γ = 0\nB: tiny, γ = 0.5" in text
    assert "101-1000" in text
    assert "rank correlation of difference and training frequency (Spearman)" in text


def test_json_to_a_file_and_to_stdout(reports, tmp_path, capsys):
    out = tmp_path / "comparison.json"
    assert run(*reports, "--trust", 0, "--json", out) == 0
    assert "largest gains" in capsys.readouterr().out
    assert run(*reports, "--trust", 0, "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(out.read_text(encoding="utf-8"))
    assert document["samples"] == 50


def test_the_seed_decides_the_intervals(reports, capsys):
    outputs = []
    for seed in (1, 1, 2):
        run(*reports, "--trust", 0, "--seed", seed, "--json", "-")
        outputs.append(json.loads(capsys.readouterr().out)["groups"])
    assert outputs[0] == outputs[1] != outputs[2]


def test_categories_shown(reports, capsys):
    run(*reports, "--trust", 0, "--categories", 0)
    assert "largest" not in capsys.readouterr().out


def test_several_trusts_need_a_choice(reports):
    with pytest.raises(
        ConfigError, match=r"report A contains several γ \(0, 0\.5\).*--trust-a and --trust-b"
    ):
        run(*reports)
    with pytest.raises(ConfigError, match="report B contains several"):
        run(*reports, "--trust-a", 0)


def test_a_single_trust_needs_no_choice(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(random_report(0, trusts=(0.25,)).to_json())
    assert run(path, path) == 0
    assert "γ = 0.25" in capsys.readouterr().out


def test_notes_go_to_stderr(reports, capsys):
    document = json.loads(reports[1].read_text())
    document["protocol"]["short_side"] = 800
    document["data"]["fingerprint"] = "beef"
    reports[1].write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="different data"):
        run(*reports, "--trust", 0)
    assert run(*reports, "--trust", 0, "--force", "--json", "-") == 0
    captured = capsys.readouterr()
    assert "note: the setting short_side differs: 64 and 800" in captured.err
    assert json.loads(captured.out)["notes"]


def test_wrong_numbers_are_usage_errors(reports):
    with pytest.raises(CycloptsError, match="samples"):
        run(*reports, "--samples", 0)


def test_it_starts_without_torch(reports):
    code = (
        "import sys; from ovrcoat.cli.compare import compare, TrustOptions; from pathlib import Path; "
        f"compare(Path({str(reports[0])!r}), trusts=TrustOptions(trust=0.5)); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
