"""Settings are checked and completed before anything is computed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from labelled_images import WORDS, make_labelled_folder
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import ConfigError, DatasetError, VocabularyError
from ovrcoat.evaluation.plan import EvaluationSettings, make_plan, model_hash, rename_categories, restrict_to
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.vocabulary import Category, Vocabulary


@pytest.fixture
def dataset(tmp_path: Path, tiny_segmenter: Segmenter) -> Dataset:
    return open_dataset(make_labelled_folder(tmp_path / "mine", tiny_segmenter, images=2))


def test_the_plan_is_complete(tiny_segmenter: Segmenter, dataset: Dataset):
    settings = EvaluationSettings(trusts=(0, 0.5, 0.0), short_side=96, seen="sky; dog")
    plan = make_plan(tiny_segmenter, dataset, settings=settings)
    assert plan.settings.trusts == (0.0, 0.5)
    assert plan.segmenter.config.inference.short_side == 96
    assert plan.segmenter.config.inference.max_long_side == 128
    assert plan.segmenter.network is tiny_segmenter.network
    assert plan.seen_ids == {2, 3}
    assert len(plan.records) == 2
    header = plan.header()
    assert header["trusts"] == ["0", "0.5"]
    assert "trust" not in header["inference"]
    assert header["data"] == {"split": None, "categories_fingerprint": dataset.schema_fingerprint()}
    assert plan.protocol_settings()["test_size"] == "custom"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trusts": ()}, "no γ .trust. was specified"),
        ({"trusts": (0.5, 1.5)}, "γ .trust. is 1.5, expected a number from 0 to 1"),
        ({"trusts": (float("nan"),)}, "γ .trust. is nan"),
        ({"tasks": ("depth",)}, "unknown task 'depth'; choose from panoptic, semantic, instance"),
        ({"tasks": ()}, "no task was specified; choose from instance, panoptic, semantic"),
        ({"limit": 0}, "limit is 0, expected 1 or more"),
        ({"held_out": 0.0}, "held_out is 0.0, expected a share above 0"),
        ({"protocol": "published"}, "no published test resolution for 'mine'"),
        ({"short_side": -5}, "short_side"),
    ],
)
def test_settings_out_of_range(
    tiny_segmenter: Segmenter, dataset: Dataset, settings: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        make_plan(tiny_segmenter, dataset, settings=EvaluationSettings(**settings))


def test_a_task_without_truth(tiny_segmenter: Segmenter, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dataset, "tasks", frozenset({"instance"}))
    with pytest.raises(ConfigError, match="mine has ground truth for instance, but not for panoptic"):
        make_plan(tiny_segmenter, dataset, settings=EvaluationSettings())
    with pytest.raises(
        ConfigError, match="has only instance ground truth, which does not list all categories"
    ):
        make_plan(tiny_segmenter, dataset, settings=EvaluationSettings(tasks=("instance",), oracle=True))


def test_a_dataset_without_images(
    tiny_segmenter: Segmenter, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dataset, "records", ())
    with pytest.raises(DatasetError, match="mine has no labeled images"):
        make_plan(tiny_segmenter, dataset, settings=EvaluationSettings())


def test_custom_names_by_first_name():
    renamed = rename_categories(WORDS, "sky, heaven#thing; cat, kitty")
    assert [category.names for category in renamed.categories] == [
        ("cat", "kitty"),
        ("dog",),
        ("sky", "heaven"),
        ("road",),
    ]
    assert [category.id for category in renamed.categories] == [1, 2, 3, 4]
    assert not renamed.categories[2].is_thing  # things and stuff are those of the dataset


def test_custom_names_by_id():
    renamed = rename_categories(WORDS, "Katze; Hund; Himmel; Straße")
    assert [category.name for category in renamed.categories] == ["Katze", "Hund", "Himmel", "Straße"]


def test_a_dataset_with_equal_names_is_renamed_by_id():
    twins = Vocabulary((Category(("cat",), True, 1), Category(("cat",), True, 2)))
    assert [category.name for category in rename_categories(twins, "tom cat; cat").categories] == [
        "tom cat",
        "cat",
    ]


def test_names_of_another_dataset_are_rejected():
    with pytest.raises(
        VocabularyError, match="2 of 3 categories have a first name that is none of its 4 names"
    ):
        rename_categories(WORDS, "cat; unicorn; dragon")


def test_without_names_the_vocabulary_is_unchanged():
    assert rename_categories(WORDS, None) is WORDS


def test_restrict_to():
    kept = restrict_to(WORDS, frozenset({4, 1, 99}))
    assert [category.name for category in kept.categories] == ["cat", "road"]


def test_the_hash_is_that_of_weights_network_and_training_vocabulary(tiny_segmenter: Segmenter):
    before = model_hash(tiny_segmenter)
    assert model_hash(tiny_segmenter.with_settings(short_side=96, trust=0.1)) == before
    with torch.no_grad():
        next(tiny_segmenter.network.parameters()).flatten()[0] += 1e-6
    assert model_hash(tiny_segmenter) != before
    with torch.no_grad():
        next(tiny_segmenter.network.parameters()).flatten()[0] -= 1e-6
    tiny_segmenter.training_vocabulary = Vocabulary.parse("cat")
    assert model_hash(tiny_segmenter) != before
