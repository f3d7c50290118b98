"""Compare with numbers recorded from the released code, through the tool that users run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "parity.py"


def run_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def check_lines(
    done: subprocess.CompletedProcess[str], *, least: int, families: tuple[str, ...] = ("convnext", "resnet")
) -> list[str]:
    """Assert that all lines pass and that each family has more than `least` of them; return the lines."""
    *lines, summary = done.stdout.splitlines()
    wrong = [line for line in lines if " FAILED" in line or "unknown array" in line]
    assert (done.returncode, wrong) == (0, []), done.stderr
    for family in families:
        compared = [line for line in lines if line.startswith(family) and line.split("  ok")[0] != line]
        assert len(compared) > least
    assert "not yet checked" not in summary
    return lines


def test_both_families_match_the_committed_reference(reference: Path):
    lines = check_lines(run_tool(reference), least=900)
    assert not [line for line in lines if "skipped" in line]


@pytest.mark.slow
def test_both_families_match_the_larger_recording(shared_fixtures: Path):
    lines = check_lines(run_tool(shared_fixtures / "A"), least=80)
    # gradients through live BatchNorm have a tolerance of their own, and the output says so
    live = [
        line
        for line in lines
        if line.startswith("resnet/training/pair/grad_norms/released/") and "abs" in line
    ]
    assert len(live) > 100
    assert all(line.endswith("ok  live BatchNorm: tolerance 5e-02") for line in live)
    exact = [line for line in lines if line.startswith("resnet/training/pair_bn_eval/")]
    assert len(exact) > 100
    assert not any("live BatchNorm" in line for line in exact)


def test_maft_plus_matches_its_recording(shared_fixtures: Path):
    folder = shared_fixtures / "maft"
    if not folder.is_dir():
        pytest.skip("optional recording not found: maft")
    lines = check_lines(run_tool(folder), least=130, families=("maftplus",))
    assert not [line for line in lines if "skipped" in line]
    assert len([line for line in lines if line.startswith("maftplus/batch/")]) > 25
    for case in ("semantic_config", "zero_linear", "logit_scale_5"):
        assert any(f"/case_{case}/" in line for line in lines)


def test_reference_data_is_small_and_its_origin_is_stated(reference: Path):
    assert sum(path.stat().st_size for path in reference.rglob("*") if path.is_file()) < 3_500_000
    assert "CC0" in (reference / "README.md").read_text(encoding="utf-8")
    assert "tests/parity/reference" in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_usage():
    done = run_tool("--help")
    assert done.returncode == 0
    assert "one line per recorded array" in done.stdout
    assert "live BatchNorm" in done.stdout
    assert run_tool().returncode == 2


def test_a_folder_without_recordings(tmp_path: Path):
    done = run_tool(tmp_path)
    assert done.returncode == 1
    assert "contains no convnext/config.json or resnet/config.json or maftplus/config.json" in done.stderr
    assert "Traceback" not in done.stderr
