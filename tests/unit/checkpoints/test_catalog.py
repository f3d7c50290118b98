from pathlib import Path

import pytest

from ovrcoat.checkpoints import catalog
from ovrcoat.checkpoints.catalog import (
    PUBLISHED,
    PUBLISHED_MASKS,
    embedded_path,
    find_mask_source,
    find_model,
    list_models,
)
from ovrcoat.errors import ConfigError
from ovrcoat.system.user_folders import model_folders


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the user; no environment variable."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OVRCOAT_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache" / "ovrcoat" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def nano(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the file in the package."""
    path = tmp_path / "package" / "nano.safetensors"
    path.parent.mkdir()
    path.touch()
    monkeypatch.setattr(catalog, "embedded_path", lambda: path)
    return path


def test_nano_is_in_the_package() -> None:
    assert embedded_path().name == "nano.safetensors"
    assert embedded_path().parent.name == "weights"


def test_installed_models_have_a_path_and_others_a_remedy(nano: Path, cache: Path) -> None:
    (cache / "fcclip-rn50.safetensors").touch()
    (cache / "mine.safetensors").touch()
    models = {entry.name: entry for entry in list_models()}
    assert list(models) == ["nano", *PUBLISHED, *PUBLISHED_MASKS, "mine"]
    assert models["nano"].path == nano
    assert models["fcclip-rn50"].path == cache / "fcclip-rn50.safetensors"
    assert models["fcclip-rn50"].remedy == ""
    assert models["mine"].path == cache / "mine.safetensors"
    missing = models["ovrcoat-convnext-large"]
    assert missing.path is None
    assert "OVRCOAT project" in missing.remedy
    assert f"ovrcoat convert FILE.pth {cache / 'ovrcoat-convnext-large.safetensors'}" in missing.remedy
    assert "maftp_l_pano.pth" in models["maftplus-convnext-large"].remedy
    assert "MIT license" in models["maftplus-convnext-large"].remedy


def test_missing_embedded_weights_are_reported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "embedded_path", lambda: cache / "gone.safetensors")
    assert list_models()[0].remedy == "its file is missing: reinstall ovrcoat"
    with pytest.raises(
        ConfigError, match="the model 'nano' is not installed; its file is missing: reinstall"
    ):
        find_model("nano")


def test_a_name_is_looked_up(nano: Path, cache: Path) -> None:
    (cache / "mine.safetensors").touch()
    assert find_model("nano") == nano
    assert find_model("mine") == cache / "mine.safetensors"


def test_the_chosen_folder_is_searched_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("OVRCOAT_MODELS", str(own))
    for folder in (own, cache):
        (folder / "mine.safetensors").touch()
    assert model_folders() == (own, cache)
    assert find_model("mine") == own / "mine.safetensors"
    assert f"{own / 'fcclip-rn50.safetensors'}" in {e.name: e for e in list_models()}["fcclip-rn50"].remedy


def test_a_path_is_returned_unchanged(nano: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.touch()
    assert find_model(path) == path
    assert find_model("weights.safetensors") == Path("weights.safetensors")


def test_a_name_takes_precedence_over_a_file(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "nano").touch()
    assert find_model("nano") == nano
    assert find_model("./nano") == Path("nano")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "nanno",
            r"unknown model 'nanno', expected one of nano, .* the path of a file; did you mean 'nano'\?",
        ),
        ("zebra", r"unknown model 'zebra', expected one of nano, fcclip-convnext-large.*the path of a file$"),
        (
            "fcclip-rn50",
            "the model 'fcclip-rn50' is not installed; download its .pth file from .*ovrcoat convert",
        ),
        (
            "gone.safetensors",
            r"there is no file gone\.safetensors; give the path of a .safetensors file or one of",
        ),
        ("./gone", r"there is no file \./gone"),
        ("cache", r"cache is a folder; give the \.safetensors file in it"),
    ],
)
def test_missing_models(nano: Path, model: str, message: str) -> None:
    assert nano.is_file()
    with pytest.raises(ConfigError, match=message):
        find_model(model)


def test_folders_of_mask2former_are_sources_of_masks(nano: Path, cache: Path, tmp_path: Path) -> None:
    for name in ("mask2former-swin-tiny-coco", "my-masks"):
        (cache / name).mkdir()
        (cache / name / "config.json").touch()
    (cache / "something-else").mkdir()
    models = {entry.name: entry for entry in list_models()}
    assert models["my-masks"].masks_only
    assert "something-else" not in models
    assert find_mask_source("mask2former-swin-tiny-coco") == cache / "mask2former-swin-tiny-coco"
    assert find_mask_source("nano") == nano
    assert find_mask_source(tmp_path) == tmp_path
    with pytest.raises(ConfigError, match=r"'my-masks' proposes masks and cannot name them; .*--masks"):
        find_model("my-masks")
    with pytest.raises(ConfigError, match="not installed; run: hf download facebook/mask2former-swin-base"):
        find_mask_source("mask2former-swin-base-coco")
    with pytest.raises(ConfigError, match=r"unknown model 'my-mask'.*did you mean 'my-masks'"):
        find_mask_source("my-mask")
