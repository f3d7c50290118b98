"""The picture in the README is made by the weights that ship."""

from pathlib import Path

from PIL import Image

from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.system.fingerprints import file_sha256
from tool_modules import load_tool

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "example.jpg"


def test_the_picture_is_made_by_the_weights_that_ship():
    recorded = load_tool("contact_sheet").weights_of(PICTURE)
    assert recorded == file_sha256(embedded_path()), "run ./demo and tools/contact_sheet.py again"


def test_a_picture_without_a_record_is_noticed(tmp_path: Path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.jpg")
    assert load_tool("contact_sheet").weights_of(tmp_path / "a.jpg") is None
