"""Where tools and outside fixtures lie."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "fixtures"  # beside a checkout; not part of the project

sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """Recorded numbers of the released code, where they are at hand."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/fixtures beside this checkout")
    return SHARED
