"""Models from the Hugging Face Hub, against a server on this machine that answers like it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import Hub, serve_hub
from ovrcoat.checkpoints.catalog import embedded_path

ADDRESS = "hf://tests/model/nano.safetensors"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as server:
        yield server


def run(hub: Hub, cache: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process, because the library reads its settings once."""
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "ovrcoat", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def publish_nano(hub: Hub) -> None:
    for name in ("nano.safetensors", "nano-text.safetensors"):
        hub.files[name] = embedded_path().with_name(name).read_bytes()


def test_a_downloaded_model_with_its_shard_is_used_without_network(hub: Hub, folder: Path, image_pixels):
    from PIL import Image

    Image.fromarray(image_pixels).save(folder / "photo.png")
    publish_nano(hub)
    segment = ("segment", "photo.png", "--model", ADDRESS, "--vocabulary", "cat; sky", "--output", "out")

    before = run(hub, folder / "cache", *segment)
    assert before.returncode == 2
    assert f"has not been downloaded; run: ovrcoat models --download {ADDRESS}" in before.stderr
    assert hub.fetched == []

    downloaded = run(hub, folder / "cache", "models", "--download", ADDRESS)
    assert downloaded.returncode == 0, downloaded.stderr
    assert sorted(hub.fetched) == ["nano-text.safetensors", "nano.safetensors"]
    path = Path(downloaded.stdout.strip().partition(" → ")[2])
    assert path.read_bytes() == hub.files["nano.safetensors"]

    assert run(hub, folder / "cache", "models", "--download", ADDRESS).returncode == 0
    assert len(hub.fetched) == 2  # nothing is downloaded twice

    assert run(hub, folder / "cache", *segment, HF_HUB_OFFLINE="1").returncode == 0
    assert (folder / "out" / "photo.png").exists()


def test_a_damaged_download_is_deleted_before_it_is_opened(hub: Hub, folder: Path):
    hub.files["nano.safetensors"] = b"not what was published"
    hub.stated_sha256["nano.safetensors"] = "ab" * 32
    outcome = run(hub, folder / "cache", "models", "--download", ADDRESS)
    assert outcome.returncode == 2
    assert "the Hub states abababababab…" in outcome.stderr
    assert not any(path.is_file() and path.stat().st_size == 22 for path in (folder / "cache").rglob("*"))


def test_other_files_are_no_models(hub: Hub, folder: Path):
    hub.files["model.safetensors"] = b"<html>"
    outcome = run(hub, folder / "cache", "models", "--download", "hf://tests/model")
    assert outcome.returncode == 2
    assert "web page" in outcome.stderr


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("hf://tests/other", "there is no such repository"),
        ("hf://tests/model/absent.safetensors", "the repository has no such file"),
        ("hf://tests/model/nano.safetensors@v9", "the repository has no such revision"),
    ],
)
def test_what_the_hub_lacks_is_named(hub: Hub, folder: Path, address: str, reason: str):
    hub.files["nano.safetensors"] = b"x"
    outcome = run(hub, folder / "cache", "models", "--download", address)
    assert outcome.returncode == 2
    assert f"error: {address}: {reason}" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_gated_models_name_the_way_in(hub: Hub, folder: Path):
    hub.gated = True
    outcome = run(hub, folder / "cache", "models", "--download", ADDRESS)
    assert outcome.returncode == 2
    assert "hf auth login" in outcome.stderr


def test_without_a_connection_there_is_one_line(hub: Hub, folder: Path):
    outcome = run(hub, folder / "cache", "models", "--download", ADDRESS, HF_ENDPOINT="http://127.0.0.1:9")
    assert outcome.returncode == 2
    assert "cannot be reached" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_offline_mode_is_respected(hub: Hub, folder: Path):
    publish_nano(hub)
    outcome = run(hub, folder / "cache", "models", "--download", ADDRESS, HF_HUB_OFFLINE="1")
    assert outcome.returncode == 2
    assert "HF_HUB_OFFLINE is set" in outcome.stderr
    assert hub.fetched == []
