import inspect
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_clip
from ovrcoat.config import ModelConfig
from ovrcoat.errors import ConfigError, VocabularyError
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.segmentation.prompt import PromptEncoder, TextEmbedder
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.segmentation.text_cache import TextCache
from ovrcoat.vocabulary import Vocabulary


def make_encoder(
    network: SegmentationNetwork, config: ModelConfig, folder: Path | None = None, **options: Any
) -> PromptEncoder:
    """A prompt encoder as another process would make it; with a text cache in `folder`."""
    cache = None if folder is None else TextCache(folder)
    embedder = TextEmbedder(network, config=config, cache=cache, **options)
    return PromptEncoder(embedder, config=config, training_vocabulary=Vocabulary.parse("cat; sky#stuff"))


@pytest.fixture
def encoder(tiny_network: SegmentationNetwork, tiny_config: ModelConfig) -> PromptEncoder:
    return make_encoder(tiny_network, tiny_config)


def test_every_name_has_a_row_and_an_owner(encoder: PromptEncoder) -> None:
    prompt = encoder.encode("cat, kitty; dog", background="road; sky, heaven")
    assert prompt.embeddings.in_vocab.shape[0] == 6
    assert prompt.embeddings.category_of_embedding.tolist() == [0, 0, 1, 2, 3, 3]
    assert prompt.embeddings.category_count == 4
    assert prompt.seen.tolist() == [True, False, False, True]
    torch.testing.assert_close(prompt.embeddings.in_vocab.norm(dim=-1), torch.ones(6))


def test_each_name_is_embedded_once(encoder: PromptEncoder, tiny_network: SegmentationNetwork) -> None:
    texts = tiny_network.encoder.texts
    first = encoder.encode("cat; dog", background="none")
    assert len(texts) == 4  # two names, two templates
    second = encoder.encode("road; dog, cat", background="none")
    assert texts[4:] == ["a photo of a road.", "There is a road in the scene"]
    torch.testing.assert_close(second.embeddings.in_vocab[1], first.embeddings.in_vocab[1])
    torch.testing.assert_close(second.embeddings.in_vocab[2], first.embeddings.in_vocab[0])
    encoder.encode("cat; dog; road", background="none")
    assert len(texts) == 6


def test_the_rows_are_the_networks(encoder: PromptEncoder, tiny_network: SegmentationNetwork) -> None:
    rows = encoder.encode("cat; dog", background="none").embeddings.in_vocab
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
            "overlap_threshold apply to task 'panoptic', not to 'semantic'; leave them out",
        ),
        ({"task": "instance", "score_threshold": 1.5}, r"score_threshold is 1\.5, expected 0 to 1"),
        (
            {"score_threshold": 0.5},
            "score_threshold applies to task 'instance', not to 'panoptic'; leave it out",
        ),
    ],
)
def test_options_that_do_not_fit(encoder: PromptEncoder, options: Any, message: str) -> None:
    encode = inspect.unwrap(PromptEncoder.encode)  # past the tests' run-time type check, as users call it
    with pytest.raises(ConfigError, match=message):
        encode(encoder, "cat", **options)


def test_the_prompts_need_room_too(encoder: PromptEncoder) -> None:
    """The tower takes 12 words, the longer prompt 6 of them."""
    assert encoder.encode("one two three four five six").embeddings.category_count > 1
    with pytest.raises(
        VocabularyError, match=r"text tower takes 6 tokens; shorten them .1 ×: .* has 7 tokens"
    ):
        encoder.encode("one two three four five six seven")


def test_all_errors_of_a_vocabulary_are_reported_at_once(encoder: PromptEncoder) -> None:
    with pytest.raises(VocabularyError, match=r"(?s)control.*more than one category"):
        encoder.encode(["cat", "cat", "do\x00g"])


def test_a_suspicious_vocabulary_warns_at_the_callers_line(
    tiny_segmenter: Segmenter, image_pixels: Any
) -> None:
    with pytest.warns(UserWarning, match=r"names are given twice in their category.*'cat'") as caught:
        tiny_segmenter.segment(image_pixels, "cat, cat; dog")
    assert len(caught) == 1


@pytest.fixture
def with_tower(tiny_network: SegmentationNetwork) -> SegmentationNetwork:
    """The tiny network, and weights that a text's row can depend on."""
    tiny_network.encoder.text_tower = torch.nn.Linear(2, 2)
    return tiny_network


def test_a_name_of_an_earlier_process_is_neither_measured_nor_embedded(
    with_tower: SegmentationNetwork, tiny_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_encoder(with_tower, tiny_config, tmp_path).encode("cat; dog", background="none")
    texts = with_tower.encoder.texts
    texts.clear()
    measured = []
    measure = with_tower.encoder.text_length
    monkeypatch.setattr(
        with_tower.encoder, "text_length", lambda text: measured.append(text) or measure(text)
    )
    second = make_encoder(with_tower, tiny_config, tmp_path).encode("dog; cat", background="none")
    assert (texts, measured) == ([], [])
    assert torch.equal(second.embeddings.in_vocab, first.embeddings.in_vocab.flip(0))
    make_encoder(with_tower, tiny_config, tmp_path).encode("cat; road", background="none")
    assert texts == ["a photo of a road.", "There is a road in the scene"]


def test_rows_from_the_checkpoint_win_and_leave_the_cache_alone(
    with_tower: SegmentationNetwork, tiny_config: ModelConfig, tmp_path: Path
) -> None:
    make_encoder(with_tower, tiny_config, tmp_path / "a").encode("cat", background="none")
    own = {"cat": torch.eye(16)[0]}
    known = make_encoder(with_tower, tiny_config, tmp_path / "a", known=own)
    assert torch.equal(known.encode("cat", background="none").embeddings.in_vocab[0], own["cat"])
    make_encoder(with_tower, tiny_config, tmp_path / "b", known=own).encode("cat", background="none")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("other", ["weights", "templates", "dtype"])
def test_what_was_computed_otherwise_is_computed_anew(
    with_tower: SegmentationNetwork, tiny_config: ModelConfig, tmp_path: Path, other: str
) -> None:
    make_encoder(with_tower, tiny_config, tmp_path).encode("cat", background="none")
    options = {}
    if other == "weights":
        with_tower.encoder.get_submodule("text_tower").weight.data += 1e-3
    elif other == "templates":
        tiny_config = tiny_config.model_copy(update={"templates": ("a {}", "the {}")})
    else:
        options["dtype"] = torch.bfloat16
    with_tower.encoder.texts.clear()
    rows = (
        make_encoder(with_tower, tiny_config, tmp_path, **options)
        .encode("cat", background="none")
        .embeddings.in_vocab
    )
    assert len(with_tower.encoder.texts) == 2
    assert rows.dtype == torch.float32


def test_without_a_cache_no_weights_are_read(encoder: PromptEncoder) -> None:
    """The tiny network has no text tower that could be."""
    assert encoder.encode("cat", background="none").embeddings.in_vocab.shape == (1, 16)


def test_half_precision_comes_near() -> None:
    network = tiny_clip.make_network("convnext")
    config = tiny_clip.make_config("convnext")
    rows = [
        make_encoder(network, config, dtype=dtype)
        .encode("cat; dog; traffic light", background="none")
        .embeddings.in_vocab
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert rows[1].dtype == torch.float32
    assert not torch.equal(*rows)
    torch.testing.assert_close(rows[1], rows[0], rtol=0, atol=0.02)
    torch.testing.assert_close(rows[1].norm(dim=-1), torch.ones(3))


def test_names_that_the_encoder_does_not_know_are_warned_of(
    encoder: PromptEncoder, tiny_network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_network.encoder, "unknown_text", lambda text: text == "猫")
    for _ in range(2):  # also once the embedding is known
        (issue,) = encoder.encode("cat; 猫", background="sky").issues
        assert issue.code == "name-not-representable"
        assert issue.examples == ["'猫'"]


def test_notes_are_not_python_warnings(encoder: PromptEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prompt = encoder.encode("cat", background="none")
        prompt.warn()
    assert [issue.code for issue in prompt.issues] == ["no-alternatives"]


def test_issues_are_data_and_the_prompt_keeps_them(encoder: PromptEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prompt = encoder.encode("cat, cat; dog", background="none")
    assert [issue.severity for issue in prompt.issues] == ["warning"]
    assert "'cat'" in str(prompt.issues[0])


def test_the_background_of_a_vocabulary_is_kept_on_request(encoder: PromptEncoder) -> None:
    complete = Vocabulary.parse("cat; dog").with_background("road; sky")
    assert encoder.encode(complete, background="keep").vocabulary == complete
    assert encoder.encode(complete, background="none").vocabulary.background == ()
    assert encoder.encode(Vocabulary.parse("cat"), background="keep").vocabulary.background == ()


def test_the_embeddings_in_memory_are_bounded(
    encoder: PromptEncoder, tiny_network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovrcoat.segmentation.prompt.MAX_EMBEDDINGS", 2)
    for name in ("cat", "dog", "cat", "road"):  # dog is the least recently used
        encoder.encode(name, background="none")
    tiny_network.encoder.texts.clear()
    encoder.encode("cat; road", background="none")
    assert tiny_network.encoder.texts == []
    encoder.encode("dog", background="none")
    assert len(tiny_network.encoder.texts) == 2  # one per template


def test_many_threads_embed_each_name_once(encoder: PromptEncoder, tiny_network: SegmentationNetwork) -> None:
    with ThreadPoolExecutor(8) as pool:
        prompts = list(pool.map(lambda _: encoder.encode("cat; dog; road", background="none"), range(32)))
    assert len(tiny_network.encoder.texts) == 6  # three names, two templates
    assert all(torch.equal(prompt.embeddings.in_vocab, prompts[0].embeddings.in_vocab) for prompt in prompts)
