import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_clip
from ovrcoat.config import ModelConfig
from ovrcoat.errors import ConfigError, VocabularyError
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.segmentation.prompt import PromptEncoder
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.segmentation.text_cache import TextCache
from ovrcoat.vocabulary import Vocabulary


@pytest.fixture
def questions(tiny_network: SegmentationNetwork, tiny_config: ModelConfig) -> PromptEncoder:
    return PromptEncoder(
        tiny_network, config=tiny_config, training_vocabulary=Vocabulary.parse("cat; sky#stuff")
    )


def test_every_name_has_a_row_and_an_owner(questions: PromptEncoder) -> None:
    prompt = questions.build("cat, kitty; dog", background="road; sky, heaven")
    assert prompt.embeddings.rows.shape[0] == 6
    assert prompt.embeddings.category_of_row.tolist() == [0, 0, 1, 2, 3, 3]
    assert prompt.embeddings.category_count == 4
    assert prompt.seen.tolist() == [True, False, False, True]
    torch.testing.assert_close(prompt.embeddings.rows.norm(dim=-1), torch.ones(6))


def test_each_name_is_embedded_once(questions: PromptEncoder, tiny_network: SegmentationNetwork) -> None:
    texts = tiny_network.encoder.texts
    first = questions.build("cat; dog", background="none")
    assert len(texts) == 4  # two names, two templates
    second = questions.build("road; dog, cat", background="none")
    assert texts[4:] == ["a photo of a road.", "There is a road in the scene"]
    torch.testing.assert_close(second.embeddings.rows[1], first.embeddings.rows[1])
    torch.testing.assert_close(second.embeddings.rows[2], first.embeddings.rows[0])
    questions.build("cat; dog; road", background="none")
    assert len(texts) == 6


def test_the_rows_are_the_networks(questions: PromptEncoder, tiny_network: SegmentationNetwork) -> None:
    rows = questions.build("cat; dog", background="none").embeddings.rows
    expected = tiny_network.embed_names(["cat", "dog"], ["a photo of a {}.", "There is a {} in the scene"])
    torch.testing.assert_close(rows, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "panoptics"}, "unknown task 'panoptics'; choose one of panoptic, semantic, instance"),
        ({"trust": -0.1}, "trust is -0.1, expected 0 to 1"),
        ({"trust": 1.5}, "trust is 1.5, expected 0 to 1"),
        ({"trust": "a lot"}, "trust is 'a lot', expected a number from 0 to 1, or 'adaptive'"),
        ({"trust": float("nan")}, "trust is nan, expected 0 to 1"),
        ({"object_mask_threshold": 2.0}, r"object_mask_threshold is 2\.0, expected 0 to 1"),
        ({"overlap_threshold": -1.0}, r"overlap_threshold is -1\.0, expected 0 or more"),
        (
            {"task": "semantic", "overlap_threshold": 0.5},
            "thresholds belong to task 'panoptic', not to 'semantic'; leave them out",
        ),
    ],
)
def test_options_that_do_not_fit(questions: PromptEncoder, options: Any, message: str) -> None:
    build = inspect.unwrap(PromptEncoder.build)  # past the tests' run-time type check, as users call it
    with pytest.raises(ConfigError, match=message):
        build(questions, "cat", **options)


def test_the_prompts_need_room_too(questions: PromptEncoder) -> None:
    """The tower takes 12 words, the longer prompt 6 of them."""
    assert questions.build("one two three four five six").embeddings.category_count > 1
    with pytest.raises(VocabularyError, match="takes 7 tokens, the model's text tower takes 6; shorten it"):
        questions.build("one two three four five six seven")


def test_all_faults_of_the_words_come_at_once(questions: PromptEncoder) -> None:
    with pytest.raises(VocabularyError, match=r"(?s)control.*more than one category"):
        questions.build(["cat", "cat", "do\x00g"])


def test_doubts_about_the_words_are_warnings_at_the_callers_line(
    tiny_segmenter: Segmenter, image_pixels: Any
) -> None:
    with pytest.warns(UserWarning, match="names are given twice in their category: 'cat'") as caught:
        tiny_segmenter.segment(image_pixels, "cat, cat; dog")
    assert len(caught) == 1


@pytest.fixture
def with_tower(tiny_network: SegmentationNetwork) -> SegmentationNetwork:
    """The tiny network, and weights that a text's row can depend on."""
    tiny_network.encoder.text_tower = torch.nn.Linear(2, 2)
    return tiny_network


def builder(network: SegmentationNetwork, config: ModelConfig, folder: Path, **options: Any) -> PromptEncoder:
    """What another process would make of `folder`."""
    return PromptEncoder(
        network,
        config=config,
        training_vocabulary=Vocabulary.parse("cat; sky#stuff"),
        cache=TextCache(folder),
        **options,
    )


def test_a_name_of_an_earlier_process_is_neither_measured_nor_embedded(
    with_tower: SegmentationNetwork, tiny_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = builder(with_tower, tiny_config, tmp_path).build("cat; dog", background="none")
    texts = with_tower.encoder.texts
    texts.clear()
    measured = []
    measure = with_tower.encoder.text_length
    monkeypatch.setattr(
        with_tower.encoder, "text_length", lambda text: measured.append(text) or measure(text)
    )
    second = builder(with_tower, tiny_config, tmp_path).build("dog; cat", background="none")
    assert (texts, measured) == ([], [])
    assert torch.equal(second.embeddings.rows, first.embeddings.rows.flip(0))
    builder(with_tower, tiny_config, tmp_path).build("cat; road", background="none")
    assert texts == ["a photo of a road.", "There is a road in the scene"]


def test_rows_from_the_checkpoint_win_and_leave_the_cache_alone(
    with_tower: SegmentationNetwork, tiny_config: ModelConfig, tmp_path: Path
) -> None:
    builder(with_tower, tiny_config, tmp_path / "a").build("cat", background="none")
    own = {"cat": torch.eye(16)[0]}
    known = builder(with_tower, tiny_config, tmp_path / "a", text_embeddings=own)
    assert torch.equal(known.build("cat", background="none").embeddings.rows[0], own["cat"])
    builder(with_tower, tiny_config, tmp_path / "b", text_embeddings=own).build("cat", background="none")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("other", ["weights", "templates", "dtype"])
def test_what_was_computed_otherwise_is_computed_anew(
    with_tower: SegmentationNetwork, tiny_config: ModelConfig, tmp_path: Path, other: str
) -> None:
    builder(with_tower, tiny_config, tmp_path).build("cat", background="none")
    options = {}
    if other == "weights":
        with_tower.encoder.get_submodule("text_tower").weight.data += 1e-3
    elif other == "templates":
        tiny_config = tiny_config.model_copy(update={"templates": ("a {}", "the {}")})
    else:
        options["text_dtype"] = torch.bfloat16
    with_tower.encoder.texts.clear()
    rows = (
        builder(with_tower, tiny_config, tmp_path, **options).build("cat", background="none").embeddings.rows
    )
    assert len(with_tower.encoder.texts) == 2
    assert rows.dtype == torch.float32


def test_without_a_cache_no_weights_are_read(questions: PromptEncoder) -> None:
    """The tiny network has no text tower that could be."""
    assert questions.cache is None
    assert questions.build("cat", background="none").embeddings.rows.shape == (1, 16)


def test_half_precision_comes_near() -> None:
    network = tiny_clip.make_network("convnext")
    rows = [
        PromptEncoder(
            network,
            config=tiny_clip.make_config("convnext"),
            training_vocabulary=Vocabulary.parse("cat"),
            text_dtype=dtype,
        )
        .build("cat; dog; traffic light", background="none")
        .embeddings.rows
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert rows[1].dtype == torch.float32
    assert not torch.equal(*rows)
    torch.testing.assert_close(rows[1], rows[0], rtol=0, atol=0.02)
    torch.testing.assert_close(rows[1].norm(dim=-1), torch.ones(3))
