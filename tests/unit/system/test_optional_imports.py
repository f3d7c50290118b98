import json
from pathlib import Path

import pytest

from ovrcoat.errors import MissingExtraError, OvrcoatError
from ovrcoat.system.optional_imports import import_optional


def test_what_is_installed_is_imported():
    assert import_optional("json", extra="coco") is json
    assert import_optional("json.decoder", extra="coco") is json.decoder


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.part"])
def test_what_is_missing_is_told_with_the_command(module: str):
    with pytest.raises(
        MissingExtraError, match=r"not installed\. Run: pip install 'ovrcoat\[coco\]'"
    ) as caught:
        import_optional(module, extra="coco")
    assert isinstance(caught.value, OvrcoatError)
    assert isinstance(caught.value, ImportError)


def test_a_broken_installation_keeps_its_own_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_library.py").write_text("import what_it_needs_itself\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs_itself") as caught:
        import_optional("broken_library", extra="coco")
    assert not isinstance(caught.value, MissingExtraError)
