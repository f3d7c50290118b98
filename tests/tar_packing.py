"""Packs a labeled folder into WebDataset tar shards."""

import io
import tarfile
from pathlib import Path


def add(tar: tarfile.TarFile, name: str, content: bytes, **attributes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in attributes.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def pack(folder: Path, target: Path, *, shards: int = 2) -> Path:
    """Write the images and labels of a folder as WebDataset shards next to its panoptic.json."""
    (target / "shards").mkdir(parents=True)
    (target / "panoptic.json").write_bytes((folder / "panoptic.json").read_bytes())
    images = sorted((folder / "images").iterdir())
    for number in range(shards):
        with tarfile.open(target / "shards" / f"{number:04}.tar", "w") as tar:
            for image in images[number::shards]:
                add(tar, image.name, image.read_bytes())
                labels = (folder / "panoptic" / image.with_suffix(".png").name).read_bytes()
                add(tar, f"{image.stem}.panoptic.png", labels)
                add(tar, f"{image.stem}.json", b"{}")
    return target
