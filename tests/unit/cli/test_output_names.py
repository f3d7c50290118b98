"""No image's files land on another's."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.cli.output_names import output_names

PARTS = st.sampled_from(["a", "b", "A", "a-a", "a-jpg", "a-2"])
PHOTOS = st.builds(
    lambda folder, stem, suffix: Path(folder, f"{stem}.{suffix}"),
    PARTS,
    PARTS,
    st.sampled_from(["jpg", "png"]),
)


def test_a_unique_stem_is_kept():
    assert output_names([Path("x/cat.jpg"), Path("y/dog.png")]) == ("cat", "dog")


def test_equal_stems_get_their_folder():
    assert output_names([Path("x/cat.jpg"), Path("y/cat.jpg"), Path("dog.jpg")]) == ("x-cat", "y-cat", "dog")


def test_equal_stems_in_one_folder_get_their_suffix():
    assert output_names([Path("x/cat.jpg"), Path("x/cat.png")]) == ("x-cat-jpg", "x-cat-png")


def test_equal_folders_get_a_number():
    assert output_names([Path("p/x/cat.jpg"), Path("q/x/cat.jpg")]) == ("x-cat-jpg", "x-cat-jpg-2")


def test_names_that_differ_only_in_case_are_told_apart():
    names = output_names([Path("x/Cat.jpg"), Path("y/cat.jpg")])
    assert len({name.casefold() for name in names}) == 2


def test_a_image_without_suffix_has_a_name():
    assert output_names([Path("x/cat"), Path("x/cat.jpg")]) == ("x-cat", "x-cat-jpg")


@given(st.lists(PHOTOS, unique=True))
def test_names_never_meet(images: list[Path]):
    names = output_names(images)
    assert len({name.casefold() for name in names}) == len(images)


@given(st.lists(PHOTOS, unique=True))
def test_a_name_holds_no_folder(images: list[Path]):
    assert all(Path(name).name == name for name in output_names(images))


def test_long_names_are_shortened_and_stay_different():
    images = [Path("x", "a" * 250 + letter + ".jpg") for letter in "bcd"] + [Path("y", "a" * 250 + "b.jpg")]
    names = output_names(images)
    assert len(set(names)) == 4
    assert all(len(f"{name}.overlay.jpg".encode()) <= 255 for name in names)


def test_links_in_a_circle_have_a_name(tmp_path: Path):
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    assert len(set(output_names([tmp_path / "a.jpg", tmp_path / "a.png"]))) == 2
