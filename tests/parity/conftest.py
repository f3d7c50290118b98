"""Reference data of the parity tests: what is committed, and what a checkout may have next to it."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = Path(__file__).parent / "reference"
RECORDINGS = ROOT.parent / "shared" / "fixtures"  # more recordings; not part of the project

sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="session")
def reference() -> Path:
    """Numbers recorded from the released code; committed, so no test that uses them is ever skipped."""
    return REFERENCE


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """More recordings; tests that need them are skipped where they are missing."""
    if not RECORDINGS.is_dir():
        pytest.skip(
            f"optional recordings not found: {RECORDINGS.relative_to(ROOT.parent)} next to this checkout"
        )
    return RECORDINGS
