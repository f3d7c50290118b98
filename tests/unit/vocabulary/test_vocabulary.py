"""Vocabularies from all kinds of input."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary import Category, Vocabulary, list_presets
from ovrcoat.vocabulary.background import SHORT_VOCABULARY
from ovrcoat.vocabulary.names import is_code


def shown(vocabulary: Vocabulary) -> list[str]:
    return [category.name for category in vocabulary.categories]


class TestForms:
    def test_text(self):
        vocabulary = Vocabulary.parse("cat, kitty; sofa, couch; wall#stuff; dog#thing")
        assert vocabulary.categories == (
            Category(("cat", "kitty"), True, 1, thing_from="preset"),
            Category(("sofa", "couch"), True, 2, thing_from="preset"),
            Category(("wall",), False, 3, thing_from="given"),
            Category(("dog",), True, 4, thing_from="given"),
        )
        assert len(vocabulary) == 4
        assert vocabulary.name is None

    def test_a_list_is_the_same_as_text(self):
        assert Vocabulary.of("cat, kitty", "wall#stuff") == Vocabulary.parse("cat, kitty; wall#stuff")

    def test_repetitions_inside_a_category_are_dropped(self):
        vocabulary = Vocabulary.parse("cat, kitty, cat")
        assert vocabulary.categories[0].names == ("cat", "kitty")
        assert vocabulary.repeats == ("cat",)
        assert vocabulary == Vocabulary.parse("cat, kitty")

    @pytest.mark.parametrize("text", ["cat; dog", "cat\ndog", "cat . dog .", "cat | dog", "cat；dog"])
    def test_an_item_of_a_list_is_one_category(self, text: str):
        with pytest.raises(
            VocabularyError, match="contains several categories, but each string of a list must be one"
        ):
            Vocabulary.of("sofa", text)

    def test_an_item_of_a_list_is_not_empty(self):
        with pytest.raises(VocabularyError, match="'' contains no name"):
            Vocabulary.of("cat", "")

    @pytest.mark.parametrize("name", ["ade20k-847", "ADE20K-847", " ade20k_847 "])
    def test_presets_by_name(self, name: str):
        assert len(Vocabulary.named(name)) == 847
        assert Vocabulary.named(name).name == "ade20k-847"

    def test_a_vocabulary_has_the_name_of_its_file(self, tmp_path: Path):
        path = tmp_path / "pets.txt"
        path.write_text("cat, kitty\ndog\n")
        assert Vocabulary.load(path).name == "pets"
        assert Vocabulary.load(str(path)) == dataclasses.replace(
            Vocabulary.parse("cat, kitty; dog"), name="pets"
        )

    def test_a_file_of_the_protocol_keeps_its_ids(self, tmp_path: Path):
        path = tmp_path / "list.txt"
        path.write_text("0:invalid_class_id\n1:wall,walls\n7:cat\n")
        assert [category.id for category in Vocabulary.load(path).categories] == [1, 7]

    @pytest.mark.parametrize("name", ["empty.txt", "empty", "empty.json"])
    def test_a_file_without_names_is_an_error(self, name: str, tmp_path: Path):
        (tmp_path / name).write_text("[]" if name.endswith("json") else "\n# nothing\n")
        with pytest.raises(VocabularyError, match=rf"{name}: this file contains no class names"):
            Vocabulary.load(tmp_path / name)

    def test_errors_of_a_file_name_it(self, tmp_path: Path):
        path = tmp_path / "pets.json"
        path.write_text('[{"name": "cat", "id": 1}, "dog"]')
        with pytest.raises(VocabularyError, match=r"pets\.json: 1 of 2 categories have an id"):
            Vocabulary.load(path)

    def test_a_published_list_as_a_file_may_share_names_too(self, tmp_path: Path):
        published = Vocabulary.named("ade20k-847")
        lines = [
            f"{n}:{','.join(category.names)}" for n, category in enumerate(published.categories, start=1)
        ]
        path = tmp_path / "list.txt"
        path.write_text("\n".join(["0:invalid_class_id", *lines]))
        vocabulary = Vocabulary.load(path)
        vocabulary.check()
        assert vocabulary.categories[846].id == 847


class TestRead:
    def test_a_vocabulary_is_returned_unchanged(self):
        vocabulary = Vocabulary.parse("cat")
        assert Vocabulary.read(vocabulary) is vocabulary

    @pytest.mark.parametrize("preset", list_presets())
    def test_a_presets_name_is_the_preset(self, preset: str):
        assert Vocabulary.read(preset) == Vocabulary.named(preset)

    def test_a_presets_name_in_a_list_is_a_class_name(self):
        assert shown(Vocabulary.read(["coco"])) == ["coco"]

    def test_text_and_lists(self):
        assert shown(Vocabulary.read("cat; dog")) == ["cat", "dog"]
        assert shown(Vocabulary.read(("cat", "dog"))) == ["cat", "dog"]
        assert len(Vocabulary.read("")) == 0

    def test_files_by_path_or_text(self, tmp_path: Path):
        path = tmp_path / "names.YAML"
        path.write_text("- cat\n- dog\n")
        assert shown(Vocabulary.read(path)) == ["cat", "dog"]
        assert shown(Vocabulary.read(f" {path}\n")) == ["cat", "dog"]

    def test_a_missing_file_is_not_a_class_name(self):
        with pytest.raises(
            VocabularyError, match=r"names\.txt: .*cannot be read.*is treated as the path of a file"
        ):
            Vocabulary.read("names.txt")

    @pytest.mark.parametrize("name", ["classes", "obj.names", "classes.csv"])
    def test_an_existing_file_is_never_a_class_name(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        Path(name).write_text("cat\ndog\n")
        assert shown(Vocabulary.read(name)) == ["cat", "dog"]
        assert shown(Vocabulary.parse("sofa").with_background(name).with_background("keep")) == ["sofa"]
        background = Vocabulary.parse("sofa").with_background(name).background
        assert [category.name for category in background] == ["cat", "dog"]

    @pytest.mark.parametrize("name", ["cat", "notes.md", "."])
    def test_other_files_and_folders_are_errors(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cat").mkdir()
        (tmp_path / "notes.md").write_text("x")
        with pytest.raises(VocabularyError, match=rf"{re.escape(name)}: this .*, expected"):
            Vocabulary.read(name)
        assert shown(Vocabulary.read("cat;")) == ["cat"]

    def test_a_preset_wins_over_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "coco").mkdir()
        assert Vocabulary.read("coco") == Vocabulary.named("coco")

    @pytest.mark.parametrize("text", ["x" * 900, "cat\0dog"])
    def test_text_that_is_no_path(self, text: str):
        assert shown(Vocabulary.read(text)) == [text]

    def test_class_names_that_end_like_files(self):
        assert shown(Vocabulary.read("cat; readme.txt")) == ["cat", "readme.txt"]

    @pytest.mark.parametrize("source", [None, 5, {"cat": 1}, ["cat", 5], {"cat"}])
    def test_other_types_are_rejected(self, source: object):
        with pytest.raises(VocabularyError, match=f"is of type {type(source).__name__} .*, expected text"):
            Vocabulary.read(source)


class TestSeen:
    def test_the_rule_is_exact(self):
        names = (("sofa", "couch"), ("Couch",), ("couches",), ("settee",))
        vocabulary = Vocabulary(tuple(Category(own, True, id) for id, own in enumerate(names, start=1)))
        assert vocabulary.seen_in(Vocabulary.of("couch, lounge")) == (True, False, False, False)

    def test_training_names_may_be_codes(self):
        training = Vocabulary((Category(("my_widget",), True, 1), Category(("sky",), False, 2)))
        assert Vocabulary.parse("my_widget; Sky; dog").seen_in(training) == (True, True, False)

    def test_published_training_names_are_not_codes(self):
        coco = Vocabulary.named("coco").categories
        assert not any(is_code(name) for category in coco for name in category.names)

    def test_training_may_be_given_by_names(self):
        assert Vocabulary.parse("cat; dog").seen_in(["dog"]) == (False, True)
        assert Vocabulary.parse("cat; dog").seen_in(()) == (False, False)

    def test_background_classes_are_tested_but_never_training_categories(self):
        vocabulary = Vocabulary.parse("cat").with_background("sky; wall")
        assert vocabulary.seen_in({"sky"}) == (False, True, False)
        assert Vocabulary.parse("sky; cat").seen_in(vocabulary) == (False, True)


class TestBackground:
    def test_short_vocabularies_get_background_classes(self):
        vocabulary = Vocabulary.parse("kitty").with_background()
        assert len(vocabulary) == 1
        assert len(vocabulary.all_categories) > 200
        assert vocabulary.all_categories[0].name == "kitty"
        vocabulary.check()

    def test_long_vocabularies_get_background_classes_on_request_only(self):
        names = [f"word {number}" for number in range(SHORT_VOCABULARY)]
        assert Vocabulary.of(*names).with_background().background == ()
        assert Vocabulary.of(*names[1:]).with_background().background != ()
        assert Vocabulary.of(*names).with_background("on").background != ()

    @pytest.mark.parametrize("preset", list_presets())
    def test_presets_get_none(self, preset: str):
        assert Vocabulary.named(preset).with_background().background == ()

    def test_own_background_classes_are_kept(self):
        vocabulary = Vocabulary.parse("cat").with_background("sky")
        assert vocabulary.with_background() is vocabulary
        assert vocabulary.with_background("none").background == ()

    def test_own_background_classes_are_used_without_changes(self):
        vocabulary = Vocabulary.parse("black dog").with_background("dog, hound; sky#stuff")
        assert [category.names for category in vocabulary.background] == [("dog", "hound"), ("sky",)]

    def test_competitors_in_a_preset_are_left_out(self):
        vocabulary = Vocabulary.parse("cars").with_background("cityscapes")
        background = [category.name for category in vocabulary.background]
        assert "person" in background
        assert "car" not in background
        assert len(background) < 19

    def test_a_file_or_a_vocabulary(self, tmp_path: Path):
        path = tmp_path / "back.txt"
        path.write_text("sky\n")
        cat = Vocabulary.parse("cat")
        assert cat.with_background(path) == cat.with_background(Vocabulary.parse("sky"))

    def test_an_empty_background_is_rejected(self):
        with pytest.raises(VocabularyError, match=r"the background contains no class names; .* use 'none'"):
            Vocabulary.parse("cat").with_background(" ")


class TestSaving:
    @given(st.lists(st.text(min_size=1).map(lambda text: text[:50]), min_size=1, max_size=5), st.booleans())
    def test_saved_content_is_restored(self, names: list[str], is_thing: bool):
        category = Category(tuple(names), is_thing, 3, color=(0, 1, 2), thing_from="default")
        vocabulary = Vocabulary((category,), background=(category,), name="x")
        assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary

    @pytest.mark.parametrize("preset", list_presets())
    def test_presets_are_restored_with_repetitions(self, preset: str):
        vocabulary = Vocabulary.named(preset)
        assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary

    def test_saved_as_a_file_it_can_be_loaded(self, tmp_path: Path):
        vocabulary = Vocabulary.parse("cat, kitty; wall").with_background("sky")
        path = tmp_path / "saved.json"
        path.write_text(json.dumps(vocabulary.to_dict()))
        loaded = Vocabulary.load(path)
        assert shown(loaded) == ["cat", "wall"]
        assert [category.is_thing for category in loaded.all_categories] == [True, False, False]

    def test_untrusted_data_are_rejected(self):
        with pytest.raises(VocabularyError, match="this is not a saved vocabulary"):
            Vocabulary.from_dict({"categories": ["cat"]})
