"""Folders, patterns and files: which images are found, and what is said of the rest."""

import os
from pathlib import Path

import pytest

from ovrcoat.data.find_images import ImageSearch, find_images, search_images
from ovrcoat.errors import ImageError

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class TestFindImages:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "deep").mkdir()
        for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "deep/c.webp"):
            (tmp_path / name).touch()
        return tmp_path

    def names(self, *sources: str | Path) -> list[str]:
        return [path.name for path in find_images(sources)]

    def test_a_folder_contains_its_own_images_sorted(self, folder: Path) -> None:
        assert self.names(folder) == ["a.png", "b.JPG"]

    def test_patterns(self, folder: Path) -> None:
        assert self.names(f"{folder}/*") == ["a.png", "b.JPG"]
        assert self.names(f"{folder}/*.png") == ["a.png"]
        assert self.names(f"{folder}/**") == ["a.png", "b.JPG", "c.webp"]

    def test_files_keep_their_order_and_come_once(self, folder: Path) -> None:
        assert self.names(folder / "b.JPG", folder, folder / "deep" / ".." / "a.png") == ["b.JPG", "a.png"]

    def test_one_source_needs_no_list(self, folder: Path) -> None:
        assert find_images(folder / "a.png") == (folder / "a.png",)

    def test_a_missing_file_and_an_address_are_left_to_the_reader(self) -> None:
        assert self.names("gone.jpg", "https://example.org/x.jpg") == ["gone.jpg", "x.jpg"]

    def test_a_file_whose_name_looks_like_a_pattern(self, tmp_path: Path) -> None:
        (tmp_path / "a[1].jpg").touch()
        assert self.names(tmp_path / "a[1].jpg") == ["a[1].jpg"]

    def test_an_empty_folder(self, folder: Path) -> None:
        empty = folder / "empty"
        empty.mkdir()
        with pytest.raises(
            ImageError, match=r"empty: no image found in this folder; looked for names ending in \.jpg"
        ):
            find_images([folder, empty])

    def test_an_empty_pattern(self, folder: Path) -> None:
        with pytest.raises(ImageError, match=r"\*\.bmp: no image found in this pattern"):
            find_images(f"{folder}/*.bmp")

    def test_nothing_named(self) -> None:
        with pytest.raises(ImageError, match="no image was given: give files, folders or patterns"):
            find_images([])


class TestSearch:
    @pytest.fixture
    def phone(self, tmp_path: Path) -> Path:
        """A folder as it comes from a phone."""
        folder = tmp_path / "dcim"
        (folder / "sub").mkdir(parents=True)
        names = ("a.jpg", "b.JPG", "IMG_1.HEIC", "IMG_2.heic", "IMG_3.heic", "IMG_4.heic", "r.DNG")
        for name in (*names, "noext", "x.JPG_large", "._a.jpg", ".hidden.png", ".DS_Store", "sub/e.jpg"):
            (folder / name).touch()
        (folder / "l.jpg").symlink_to("gone.jpg")
        (folder / "loop.jpg").symlink_to("loop.jpg")
        os.mkfifo(folder / "pipe.jpg")
        return folder

    def test_what_is_left_out_of_a_folder_is_counted_by_reason(self, phone: Path) -> None:
        search = search_images(phone)
        assert [path.name for path in search.images] == ["a.jpg", "b.JPG"]
        assert search.failed == {}
        left_out = {reason: [path.name for path in paths] for reason, paths in search.left_out.items()}
        assert left_out == {
            ".heic": ["IMG_1.HEIC", "IMG_2.heic", "IMG_3.heic", "IMG_4.heic"],
            ".dng": ["r.DNG"],
            ".jpg_large": ["x.JPG_large"],
            "without suffix": ["noext"],
            "macOS '._' file": ["._a.jpg"],
            "hidden file": [".hidden.png"],
            "broken link": ["l.jpg", "loop.jpg"],
            "not a regular file": ["pipe.jpg"],
            "subfolder": ["sub"],
        }

    def test_the_summary_is_one_line(self, phone: Path) -> None:
        summary = search_images(phone).summary()
        assert summary.startswith("left out 13 files or folders: ")
        assert "4 .heic (IMG_1.HEIC, IMG_2.heic, IMG_3.heic, …)" in summary
        assert "2 broken link (l.jpg, loop.jpg)" in summary
        assert summary.endswith(
            "; convert other formats to JPEG or PNG, give files without a usual suffix by name, use "
            "'FOLDER/**' to include subfolders"
        )
        assert "\n" not in summary

    def test_nothing_is_left_out(self, phone: Path) -> None:
        assert search_images(phone / "a.jpg").summary() == ""

    def test_a_pattern_reports_what_it_matches(self, phone: Path) -> None:
        assert set(search_images(f"{phone}/*.jpg").left_out) == {"broken link", "not a regular file"}
        assert "subfolder" not in search_images(f"{phone}/**").left_out

    def test_a_source_that_fails_does_not_affect_the_others(self, phone: Path) -> None:
        empty = phone / "empty"
        empty.mkdir()
        search = search_images([empty, phone / "a.jpg", f"{phone}/*.bmp"])
        assert search.images == (phone / "a.jpg",)
        assert list(search.failed) == [str(empty), f"{phone}/*.bmp"]
        assert "no image found in this folder" in search.failed[str(empty)]

    def test_a_folder_of_other_formats_says_which(self, tmp_path: Path) -> None:
        (tmp_path / "IMG_1.HEIC").touch()
        with pytest.raises(ImageError, match=r"no image found .*\(left out 1 files or folders: 1 \.heic"):
            find_images(tmp_path)

    def test_paths_that_pathlib_cannot_handle_are_left_to_the_reader(self, phone: Path) -> None:
        sources = ["~photo.jpg", "~nobody-of-this-name/x", phone / "loop.jpg", "a" * 300 + ".jpg", "a\0b.jpg"]
        search = search_images(sources)
        assert search == ImageSearch(tuple(map(Path, sources)), {}, {})

    def test_a_file_whose_name_starts_with_a_tilde(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        Path("~").mkdir()
        Path("~/literal.jpg").touch()
        Path("home.jpg").touch()
        assert search_images("~/literal.jpg").images == (Path("~/literal.jpg"),)
        assert search_images("~/home.jpg").images == (tmp_path / "home.jpg",)

    @pytest.mark.skipif(IS_ROOT, reason="root may read everything")
    def test_folders_without_permission(self, phone: Path) -> None:
        (phone / "sub").chmod(0)
        try:
            assert search_images(f"{phone}/**").left_out["folder without permission"] == (phone / "sub",)
            search = search_images([phone / "sub", phone / "sub" / "e.jpg"])
        finally:
            (phone / "sub").chmod(0o755)
        assert "the folder cannot be read (Permission denied)" in search.failed[str(phone / "sub")]
        assert search.images == (phone / "sub" / "e.jpg",)

    def test_a_folder_that_cannot_be_listed(self, phone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def listdir(folder: object) -> list[str]:
            raise PermissionError(13, "Permission denied", str(folder))

        monkeypatch.setattr(os, "listdir", listdir)
        search = search_images([phone, phone / "a.jpg"])
        assert search.images == (phone / "a.jpg",)
        assert search.failed[str(phone)].endswith(
            "the folder cannot be read (Permission denied); check its permissions"
        )
