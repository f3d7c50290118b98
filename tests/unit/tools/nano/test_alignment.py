from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import alignment
from alignment import AlignmentSet, ImageNetClass, Projection
from ovrcoat.errors import DatasetError

CHANNELS, EMBEDDING, NAMES, SAMPLES = 12, 6, 5, 40


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


CENTERS, TEXTS = unit(NAMES, CHANNELS, seed=1), unit(NAMES, EMBEDDING, seed=2)


def alignment_set(
    title: str = "images", *, seed: int = 0, held_out: float = 0.25, noise: float = 0.2
) -> AlignmentSet:
    """Samples around one center per name."""
    labels = torch.arange(SAMPLES) % NAMES
    features = F.normalize(CENTERS[labels] + noise * unit(SAMPLES, CHANNELS, seed=seed + 10), dim=-1)
    kept = torch.arange(SAMPLES) >= round(SAMPLES * held_out)
    return AlignmentSet(title, features, labels, tuple("abcde"), TEXTS, ~kept)


def classes() -> AlignmentSet:
    none = torch.zeros(NAMES, dtype=torch.bool)
    return AlignmentSet("classes", CENTERS, torch.arange(NAMES), tuple("abcde"), TEXTS, none)


def test_ridge_is_least_squares_when_the_penalty_vanishes():
    torch.manual_seed(0)
    inputs, true = torch.randn(50, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    with torch.no_grad():
        torch.set_default_dtype(torch.float64)
        try:
            solution = alignment.ridge(inputs, inputs @ true + 7, strength=1e-12)
            weak = alignment.ridge(inputs, inputs @ true + 7, strength=1e3)
        finally:
            torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(solution, true)
    assert weak.norm() < 0.01 * true.norm()


def test_the_projection_generalises_to_held_out_samples():
    projection = alignment.fit_projection(classes(), [alignment_set()], seed=0)
    assert projection.weight.shape == (EMBEDDING, CHANNELS)
    assert not projection.weight.requires_grad
    assert alignment.accuracy(alignment_set(), projection, held_out=True) == 1.0
    assert alignment.accuracy(alignment_set(held_out=0.0), projection, held_out=True) is None
    assert alignment.accuracy(alignment_set(held_out=0.0), projection, held_out=False) == 1.0


def test_held_out_samples_have_no_influence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alignment, "STEPS", 5)
    base = alignment_set()
    spoilt = AlignmentSet(
        base.title,
        torch.where(base.held_out[:, None], -base.features, base.features),
        base.labels,
        base.names,
        base.text_embeddings,
        base.held_out,
    )
    first = alignment_set("imagenet", seed=3, held_out=0.0)
    one = alignment.fit_projection(classes(), [first, base], seed=0)
    other = alignment.fit_projection(classes(), [first, spoilt], seed=0)
    assert torch.equal(one.weight, other.weight)


def test_the_result_depends_on_the_seed_and_the_global_random_state_is_unchanged(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(alignment, "STEPS", 3)
    state = torch.get_rng_state()
    maps = [alignment.fit_projection(classes(), [alignment_set()], seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(maps[0].weight, maps[1].weight)
    assert not torch.equal(maps[0].weight, maps[2].weight)
    assert torch.equal(state, torch.get_rng_state())


def test_a_set_without_training_samples_is_an_error():
    with pytest.raises(DatasetError, match=r"voc: all images are held out.*lower held_out"):
        alignment.fit_projection(classes(), [alignment_set(), alignment_set("voc", held_out=1.0)], seed=0)


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_the_projection_gives_unit_vectors(seed: int, scale: float):
    projection = Projection(scale * unit(EMBEDDING, CHANNELS, seed=seed), unit(EMBEDDING, seed=seed + 1))
    rows = projection(unit(3, CHANNELS, seed=seed + 2))
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))


def test_noisy_samples_give_a_higher_temperature():
    projection = alignment.fit_projection(classes(), [alignment_set()], seed=0)
    clear = alignment.calibrate([alignment_set(noise=0.05)], projection)
    noisy = alignment.calibrate([alignment_set(noise=2.0)], projection)
    low, high = alignment.SCALES
    assert low <= noisy < clear <= high


def test_calibration_classifies_held_out_samples_among_the_names_of_all_sets():
    identity = Projection(torch.eye(2), torch.zeros(2))
    rows = torch.eye(2)
    held = torch.tensor([True, False])
    right = AlignmentSet(
        "one", rows, torch.tensor([0, 0]), ("a", "b"), rows, held
    )  # the training sample has the wrong label
    assert alignment.calibrate([right], identity) > 15  # the loss is 0 in float32
    # a name of another set is closer to the sample than its own: the lowest scale is best
    nearer = AlignmentSet(
        "two", rows, torch.tensor([1, 1]), ("c", "d"), rows.flip(0), torch.tensor([False, True])
    )
    assert alignment.calibrate([right, nearer], identity) == alignment.SCALES[0]


def test_a_class_embedding_is_the_mean_of_its_names_and_its_definition():
    rows = {"cat": TEXTS[0], "kitty": TEXTS[1], "a small animal": TEXTS[2]}

    def embed(texts: Sequence[str]) -> Tensor:
        return torch.stack([rows[text] for text in texts])

    (row,) = alignment.embed_classes([ImageNetClass("n1", ("cat", "kitty"), "a small animal")], embed)
    names = F.normalize(TEXTS[0] + TEXTS[1], dim=-1)
    torch.testing.assert_close(row, F.normalize(names + TEXTS[2], dim=-1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_imagenet_classes_are_in_the_order_of_the_classifier():
    classes = alignment.imagenet_classes()
    assert len(classes) == 1000
    assert (classes[0].wnid, classes[0].names[0]) == ("n01440764", "tench")
    assert "fish" in classes[0].definition
    assert classes[999].names[0] == "toilet tissue"
