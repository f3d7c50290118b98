"""Makes the modules of tools/nano importable, which are scripts next to each other and in no package."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[4] / "tools" / "nano"))


@pytest.fixture
def towers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random towers."""
    from .random_towers import use_random_towers

    use_random_towers(monkeypatch)
