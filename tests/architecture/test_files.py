"""What has to lie in the checkout, and what must not."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ovrcoat"


MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:home|Users|work|tmp)/[\w.]+")


def project_files() -> list[Path]:
    """Text files of the project (tracked or new, not ignored), by git; none outside a checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    suffixes = {".py", ".md", ".toml", ".json", ".sh", ".yaml", ".yml", ""}
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in suffixes and path.is_file()]


def test_the_embedded_weights_ship_in_separate_files_of_at_most_60_megabytes():
    weights = sorted((PACKAGE / "weights").glob("*.safetensors"))
    assert "nano.safetensors" in [path.name for path in weights]
    assert len(weights) >= 2, (
        "text and image weights lie apart, so that retraining replaces only what changed"
    )
    assert sum(path.stat().st_size for path in (PACKAGE / "weights").iterdir()) <= 60_000_000


@pytest.mark.parametrize("name", ["demo", "check", ".ci/run"])
def test_commands_can_be_run(name: str):
    assert os.access(ROOT / name, os.X_OK)


def test_continuous_integration_runs_check():
    assert "/check" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_papers_are_there(name: str):
    assert (ROOT / name).stat().st_size > 500


def test_no_file_names_a_folder_of_one_machine():
    files = project_files()
    if not files:
        pytest.skip("not a git checkout")
    named = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in files
        for found in MACHINE_PATH.findall(path.read_text(encoding="utf-8"))
    ]
    assert named == []
