import math

import torch

from ovrcoat.model.closed_vocabulary import ClosedClassifier, indicator_embeddings
from ovrcoat.structures import CategoryEmbeddings

CLASSES = (("cat", "kitty"), ("dog",), ("sky",), ("sea", "water"))


def categories(*groups: tuple[str, ...]) -> CategoryEmbeddings:
    names = [name for group in groups for name in group]
    indicators = indicator_embeddings(names, CLASSES, like=torch.zeros(1))
    owners = torch.tensor([index for index, group in enumerate(groups) for _ in group])
    return CategoryEmbeddings.shared(indicators, owners, len(groups))


def probabilities(logits: torch.Tensor, embeddings: CategoryEmbeddings) -> tuple[torch.Tensor, torch.Tensor]:
    """Return category probabilities without void, and the void probability as `score_masks` computes it."""
    category_logits, void_logits = ClosedClassifier()(logits, embeddings)
    return category_logits.softmax(-1), torch.sigmoid(void_logits - category_logits.logsumexp(-1))


def test_indicators_mark_the_classes_with_a_name():
    indicators = indicator_embeddings(["water", "dog", "car"], CLASSES, like=torch.zeros(1))
    assert indicators.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert indicator_embeddings([], CLASSES, like=torch.zeros(1)).shape == (0, 4)


def test_its_own_classes_keep_their_probabilities():
    logits = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 0.5], [0.0, -5.0, 9.0, 1.0, 2.0]]])
    probs, void = probabilities(logits, categories(*CLASSES))
    torch.testing.assert_close(probs, logits[..., :-1].softmax(-1))
    torch.testing.assert_close(void, logits.softmax(-1)[..., -1])


def test_void_does_not_depend_on_the_vocabulary():
    logits = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0)) * 4
    for groups in ([("cat",)], [("car",)], [("dog", "sky"), ("car",), ("tree",)]):
        _, void = probabilities(logits, categories(*groups))
        torch.testing.assert_close(void, logits.softmax(-1)[..., -1])


def test_unnamed_classes_give_their_probability_to_unknown_categories():
    logits = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 0.5]]])
    of_class = logits[0, 0, :-1].softmax(-1)
    probs, _ = probabilities(logits, categories(("kitty",), ("car",), ("tree",)))
    rest = float(of_class[1:].sum())
    torch.testing.assert_close(probs[0, 0], torch.tensor([float(of_class[0]), rest / 2, rest / 2]))


def test_a_category_has_its_most_likely_class():
    logits = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 0.5]]])
    category_logits, _ = ClosedClassifier()(logits, categories(("cat", "dog"), ("sea", "sky")))
    assert category_logits.tolist() == [[[2.0, 4.0]]]


def test_an_unknown_category_beside_all_classes_is_unlikely_but_finite():
    logits = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 0.5]]])
    probs, void = probabilities(logits, categories(*CLASSES, ("car",)))
    assert 0 < float(probs[0, 0, -1]) <= math.exp(-20)
    assert torch.isfinite(void).all()
