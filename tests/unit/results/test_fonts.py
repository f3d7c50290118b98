import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from ovrcoat.results import fonts
from ovrcoat.results.fonts import shown_name, typeset


def forget() -> None:
    for function in (fonts._font_files, fonts._first_font, fonts._fonts_of, fonts._has_glyph, fonts.typeset):
        function.cache_clear()
    fonts._has_layout.cache_clear()
    fonts._warned.clear()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_font_folders", list)


@pytest.fixture
def dejavu() -> None:
    if not any(path.stem == "DejaVuSans" for path in fonts._font_files()):
        pytest.skip("DejaVu Sans is not installed")


def ink(text: str) -> bytes:
    picture = Image.new("RGB", (200, 40))
    typeset(text, 20).draw(ImageDraw.Draw(picture), 5.0, 20.0, fill=(255, 255, 255))
    return picture.tobytes()


@pytest.mark.parametrize("name", ["cat", "traffic light (2)", "a/b & c?", "x~{}"])
def test_plain_names_need_no_installed_font(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fonts, "_font_folders", lambda: pytest.fail("fonts were searched"))
    assert shown_name((name,), id=1) == name
    ((characters, font),) = typeset(name, 20).runs
    assert (characters, font.getname()[0]) == (name, "Aileron")


@pytest.mark.usefixtures("dejavu")
@pytest.mark.parametrize("name", ["café", "Straße", "łódź", "кошка", "γάτα", "çiçek"])
def test_an_installed_font_draws_what_the_built_in_font_lacks(name: str):
    assert shown_name((name,), id=1) == name
    runs = typeset(name, 20).runs
    assert "".join(characters for characters, _ in runs) == name
    assert all(font.getname()[0] != "Aileron" for _, font in runs)
    assert ink(name) != ink("\U0010ffff" * len(name))


@pytest.mark.usefixtures("dejavu")
@pytest.mark.parametrize("name", ["قطة", "חתול"])
def test_right_to_left_scripts_need_a_layout_engine(name: str, monkeypatch: pytest.MonkeyPatch):
    if fonts._has_layout() and not fonts._missing(name):
        assert shown_name((name,), id=1) == name
    fonts._has_layout.cache_clear()
    monkeypatch.setattr(fonts.features, "check", lambda feature: False)
    with pytest.warns(UserWarning, match="no installed font"):
        assert shown_name((name,), id=3) == "class 3"


@pytest.mark.usefixtures("no_fonts")
def test_without_a_font_a_warning_names_the_characters_once():
    with pytest.warns(UserWarning, match="no installed font has the characters") as caught:
        assert shown_name(("猫と犬",), id=7) == "class 7"
    (warning,) = caught
    message = str(warning.message)
    assert "'class 7' instead of '猫と犬'" in message
    for character, code in [("猫", "U+732B"), ("と", "U+3068"), ("犬", "U+72AC")]:
        assert f"{character} ({code})" in message
    with warnings.catch_warnings(action="error"):
        assert shown_name(("犬",), id=8) == "class 8"
    with pytest.warns(UserWarning, match=r"characters 鳥 \(U\+9CE5\)\. Install a font"):
        shown_name(("犬鳥",), id=8)


@pytest.mark.usefixtures("no_fonts")
@pytest.mark.parametrize(
    ("names", "shown"),
    [(("猫", "cat"), "cat"), (("猫", "貓", "neko"), "neko"), (("café",), "cafe"), (("ñandú",), "nandu")],
)
def test_a_name_without_a_font_is_replaced_by_a_readable_one(names: tuple[str, ...], shown: str):
    with pytest.warns(UserWarning, match=f"shows '{shown}' instead of '{names[0]}'"):
        assert shown_name(names, id=1) == shown


def test_nothing_is_ever_drawn_as_an_empty_box():
    # Private use, unassigned and rare characters: either a font has them, or they are replaced.
    for code in (0xE000, 0x378, 0x12000, 0x1F9FF, 0xFFFD, 0x3042, 0x0915, 0x10FFFF):
        with warnings.catch_warnings(action="ignore"):
            shown = shown_name((f"a{chr(code)}b",), id=1)
        assert all(fonts._is_plain(c) or fonts._can_draw(c) for c in shown)


def test_control_characters_lone_surrogates_and_long_names_are_harmless():
    assert shown_name(("two\nlines\tand\x00 more",), id=1) == "two lines and more"
    assert shown_name(("\ud800cat",), id=1) == "cat"
    long = shown_name(("word " * 100,), id=1)
    assert len(long) <= fonts.MAX_NAME_LENGTH
    assert long.endswith("...")
    assert shown_name(("\n",), id=4) == "class 4"
    assert shown_name(("e\u0301tage",), id=1) in ("étage", "etage")


@pytest.mark.usefixtures("dejavu")
def test_a_text_in_two_scripts_uses_one_font_if_one_has_both():
    assert len(typeset("кошка cat (2)", 20).runs) == 1


@pytest.mark.usefixtures("dejavu")
def test_a_text_that_no_single_font_covers_is_split(monkeypatch: pytest.MonkeyPatch):
    def has_glyph(path: Path | None, character: str) -> bool:
        return (path is None) == character.isascii()

    monkeypatch.setattr(fonts, "_has_glyph", has_glyph)
    text = typeset("catко", 20)
    assert [characters for characters, _ in text.runs] == ["cat", "ко"]
    assert text.width == pytest.approx(sum(font.getlength(characters) for characters, font in text.runs))
    assert any(ink("catко"))


def test_hostile_font_folders_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    (tmp_path / "empty.otf").touch()
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "folder.ttf").mkdir()
    (tmp_path / "dangling.ttf").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.ttf")  # opening it would wait forever
    monkeypatch.setattr(fonts, "_font_folders", lambda: [tmp_path, tmp_path / "missing"])
    assert {path.name for path in fonts._font_files()} == {"broken.ttf", "empty.otf"}
    with pytest.warns(UserWarning, match="no installed font"):
        assert shown_name(("猫",), id=2) == "class 2"


def test_no_home_folder_is_needed(monkeypatch: pytest.MonkeyPatch):
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert all(folder.is_absolute() for folder in fonts._font_folders())


def test_fonts_for_running_text_come_first(monkeypatch: pytest.MonkeyPatch):
    names = ["NotoSansMono-Bold.ttf", "NotoSerif-Regular.ttf", "Arial.ttf", "NotoSans-Regular.ttf"]
    assert [p.name for p in sorted(map(Path, names), key=fonts._preference)] == [
        "NotoSans-Regular.ttf",
        "Arial.ttf",
        "NotoSerif-Regular.ttf",
        "NotoSansMono-Bold.ttf",
    ]
