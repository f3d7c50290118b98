"""Pictures of nano's results are made by the weights that ship."""

from pathlib import Path

import pytest
from PIL import Image

from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.system.fingerprints import file_sha256
from tool_modules import load_tool

PICTURES = Path(__file__).parents[2] / "docs" / "images"


@pytest.mark.parametrize(
    ("picture", "tool"),
    [
        ("example.jpg", "./demo and contact_sheet.py"),
        ("nano-ten.jpg", "nano/ten_images.py"),
        ("nano-failures.jpg", "nano/ten_images.py"),
        ("page.png", "page_picture.py"),
    ],
)
def test_the_pictures_are_made_by_the_weights_that_ship(picture: str, tool: str):
    recorded = load_tool("contact_sheet").weights_of(PICTURES / picture)
    assert recorded == file_sha256(embedded_path()), f"run {tool} again"


def test_a_picture_without_a_record_is_noticed(tmp_path: Path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.jpg")
    assert load_tool("contact_sheet").weights_of(tmp_path / "a.jpg") is None
