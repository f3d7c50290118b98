import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.model.similarity import cosine_logits, max_over_names
from ovrcoat.model.text_classifier import TextClassifier
from ovrcoat.structures import CategoryEmbeddings

SCALE = torch.tensor(math.log(20.0))


def categories(owners: list[int], *, dim: int = 6, seed: int = 0) -> CategoryEmbeddings:
    """Random unit vectors; vector i belongs to category `owners[i]`."""
    generator = torch.Generator().manual_seed(seed)
    rows = F.normalize(torch.randn(len(owners), dim, generator=generator), dim=-1)
    return CategoryEmbeddings.shared(rows, torch.tensor(owners), max(owners) + 1)


def name_logits(
    embeddings: Tensor, text_embeddings: Tensor, *, logit_scale: Tensor = SCALE, max_scale: float = 100.0
) -> Tensor:
    return cosine_logits(embeddings, text_embeddings, logit_scale=logit_scale, max_scale=max_scale)


def category_logits(embeddings: Tensor, categories: CategoryEmbeddings) -> Tensor:
    return max_over_names(name_logits(embeddings, categories.in_vocab), categories)


def classifier(dim: int = 6) -> TextClassifier:
    torch.manual_seed(0)
    return TextClassifier(dim)


def test_cosine_is_scaled_and_independent_of_the_norm():
    embeddings, rows = torch.randn(2, 3, 6), categories([0, 1]).in_vocab
    logits = name_logits(embeddings, rows)
    for image in range(2):
        for query in range(3):
            for row in range(2):
                cosine = F.cosine_similarity(embeddings[image, query], rows[row], dim=0)
                assert logits[image, query, row].item() == pytest.approx(20 * cosine.item(), abs=1e-4)
    torch.testing.assert_close(name_logits(7 * embeddings, rows), logits)


@pytest.mark.parametrize(
    ("logarithm", "scale"), [(0.0, 1.0), (math.log(99), 99.0), (5.0, 100.0), (80.0, 100.0)]
)
def test_scale_is_clamped_at_100(logarithm: float, scale: float):
    rows = categories([0]).in_vocab
    logits = name_logits(3 * rows, rows, logit_scale=torch.tensor(logarithm))
    assert logits.item() == pytest.approx(scale, rel=1e-4)


def test_a_zero_embedding_gives_zero_logits():
    assert name_logits(torch.zeros(1, 6), categories([0, 1]).in_vocab).tolist() == [[0, 0]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 100))
def test_a_category_has_the_logit_of_its_nearest_name(names: list[int], seed: int):
    owners = [category for category, count in enumerate(names) for _ in range(count)]
    vocabulary = categories(owners, seed=seed)
    embeddings = torch.randn(2, 4, 6)
    logits = category_logits(embeddings, vocabulary)
    rows = name_logits(embeddings, vocabulary.in_vocab)
    assert logits.shape == (2, 4, len(names))
    for category in range(len(names)):
        torch.testing.assert_close(
            logits[..., category], rows[..., vocabulary.category_of_embedding == category].amax(-1)
        )


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)), st.permutations(range(7)))
def test_permuting_the_vocabulary_permutes_the_logits(order: list[int], row_order: list[int]):
    owners = [0, 0, 1, 2, 2, 2, 3]
    vocabulary, embeddings = categories(owners), torch.randn(1, 3, 6)
    moved = CategoryEmbeddings.shared(
        vocabulary.in_vocab[row_order], torch.tensor([order.index(owners[row]) for row in row_order]), 4
    )
    expected = category_logits(embeddings, vocabulary)[..., order]
    torch.testing.assert_close(category_logits(embeddings, moved), expected)


def test_void_logits_do_not_depend_on_the_vocabulary():
    module, embeddings = classifier(), torch.randn(2, 3, 6)
    logits, void_logits = module(embeddings, categories([0, 1, 1]))
    _, void_of_others = module(embeddings, categories([0, 1, 2, 3], seed=1))
    assert logits.shape == (2, 3, 2)
    assert void_logits.shape == (2, 3)
    torch.testing.assert_close(void_logits, void_of_others)
    cosine = F.cosine_similarity(embeddings, module.void_embedding.expand(2, 3, 6), dim=-1)
    torch.testing.assert_close(void_logits, cosine / 0.07)  # CLIP's first temperature


def test_one_category_is_enough():
    logits, void_logits = classifier()(torch.randn(1, 3, 6), categories([0]))
    assert logits.shape == (1, 3, 1)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(void_logits).all()


def test_only_the_nearest_name_receives_a_gradient():
    vocabulary = categories([0, 0])
    rows = vocabulary.in_vocab.clone().requires_grad_()
    learning = CategoryEmbeddings.shared(rows, vocabulary.category_of_embedding, 1)
    category_logits(vocabulary.in_vocab[:1], learning).sum().backward()
    assert rows.grad is not None
    assert rows.grad[0].abs().sum() > 0
    assert rows.grad[1].abs().sum() == 0


def test_temperature_and_void_receive_gradients():
    module = classifier()
    logits, void_logits = module(torch.randn(1, 3, 6), categories([0, 1]))
    (logits.square().sum() + void_logits.square().sum()).backward()
    assert {name for name, weight in module.named_parameters() if weight.grad is not None} == {
        "logit_scale",
        "void_embedding",
    }
