from pathlib import Path

import platformdirs
import pytest
from platformdirs import windows
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from ovrcoat.system.user_folders import cache_folder, model_folders, models_folder


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/me")
    for name in ("OVRCOAT_CACHE", "OVRCOAT_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        (Unix, {"XDG_CACHE_HOME": "/caches"}, "/caches/ovrcoat"),
        (Unix, {"XDG_CACHE_HOME": ""}, "/me/.cache/ovrcoat"),
        (MacOS, {}, "/me/Library/Caches/ovrcoat"),
        (Windows, {}, "/me/Local/ovrcoat"),
    ],
)
def test_cache_and_models_are_below_the_cache_folder_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: type, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platformdirs, "PlatformDirs", platform)
    monkeypatch.setattr(windows, "get_win_folder", lambda _: "/me/Local")
    assert cache_folder() == Path(expected)
    assert models_folder() == Path(expected) / "models"
    assert model_folders() == (Path(expected) / "models",)


def test_environment_variables_choose_other_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVRCOAT_CACHE", "/fast")
    monkeypatch.setenv("OVRCOAT_MODELS", "~/models")
    assert cache_folder() == Path("/fast")
    assert model_folders() == (Path("/me/models"), Path("/me/.cache/ovrcoat/models"))
    assert models_folder() == Path("/me/.cache/ovrcoat/models")


def test_the_cache_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVRCOAT_CACHE", "none")
    assert cache_folder() is None


@pytest.mark.parametrize("failure", [Path("~/.cache/ovrcoat"), RuntimeError("no home"), OSError("no home")])
def test_a_user_without_a_home_directory_has_no_folders(
    monkeypatch: pytest.MonkeyPatch, failure: Path | Exception
) -> None:
    def user_cache_path(*_: object, **__: object) -> Path:
        if isinstance(failure, Exception):
            raise failure
        return failure

    monkeypatch.setattr(platformdirs, "user_cache_path", user_cache_path)
    assert cache_folder() is None
    assert models_folder() is None
    assert model_folders() == ()
    monkeypatch.setenv("OVRCOAT_MODELS", "~nobody-of-this-name/models")
    assert model_folders() == (Path("~nobody-of-this-name/models"),)
