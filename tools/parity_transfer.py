"""Compute the arrays that only recordings of MAFT+ have: transfer of the text embeddings, and its cases."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.checkpoints.foreign import maft_plus_inference
from ovrcoat.choices import Arrangement
from ovrcoat.model.transformer import sine_positions
from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.structures import CategoryEmbeddings
from parity_network import Run, Subject, recording


def with_arrangement(subject: Subject, arrangement: Arrangement) -> Subject:
    """Return the subject with the same weights in the other form of the transfer."""
    network = copy.deepcopy(subject.network)
    network.text_transfer.arrangement = arrangement
    config = subject.config.model_copy(update={"inference": maft_plus_inference(arrangement)})
    return replace(subject, network=network, config=config, runs={})


def without_linear(subject: Subject) -> Subject:
    """Return the subject with zeros in the linear layer of the transfer."""
    network = copy.deepcopy(subject.network)
    for weight in network.text_transfer.linear.parameters():
        weight.zero_()
    return replace(subject, network=network, runs={})


def with_logit_scale(subject: Subject, scale: float) -> Subject:
    """Return the subject with another (logarithmic) scale of CLIP's similarity."""
    network = copy.deepcopy(subject.network)
    network.encoder.logit_scale.fill_(scale)
    return replace(subject, network=network, runs={})


def _final_probs(run: Run) -> Tensor:
    """Return the class probabilities that postprocessing uses, with void in the last column."""
    pairs = [class_probs(run.scored(index)) for index in range(len(run.sizes))]
    return torch.stack([torch.cat((categories, void[:, None]), dim=-1) for categories, void in pairs])


def _with_void(run: Run) -> CategoryEmbeddings:
    """Return the text embeddings with void as a further category."""
    ours = run.subject.categories
    void = F.normalize(run.subject.network.text_classifier.void_embedding[None], dim=-1)
    owners = torch.cat((ours.category_of_embedding, torch.tensor([ours.category_count])))
    return CategoryEmbeddings.shared(torch.cat((ours.in_vocab, void)), owners, ours.category_count + 1)


def _outputs(run: Run) -> dict[str, list[Any]]:
    """Apply the transfer to all names and void, and return the outputs and inputs of its modules."""
    network = run.subject.network
    with recording(network) as outputs:
        network.adapt(run.encoding, _with_void(run))
    return outputs


def _attention_input(run: Run, place: int) -> Tensor:
    """Return the queries (0), keys (1) or values (2) of the attention."""
    ((inputs, _),) = _outputs(run)["text_transfer.attention<"]
    return inputs[place]


def _output(part: str) -> Callable[[Run], Tensor]:
    return lambda run: _outputs(run)[f"text_transfer{part}"][0]


def _attention_weights(run: Run) -> Tensor:
    """Return the mean over heads of the attention weights, which the package does not keep."""
    attention = run.subject.network.text_transfer.attention
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    queries, keys = (
        F.linear(_attention_input(run, place), weights[place], biases[place])
        .unflatten(-1, (attention.heads, -1))
        .transpose(1, 2)
        for place in (0, 1)
    )
    return (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=1)


def _positions(run: Run) -> Tensor:
    features = run.encoding.transfer_features
    batch, channels, height, width = features.shape
    return sine_positions(height, width, channels=channels, like=features).expand(batch, -1, -1, -1)


def _clip_logits(run: Run) -> Tensor:
    """Return CLIP's logits of all categories and void."""
    network = run.subject.network
    return network.encoder.classify(run.clip.embeddings, network.adapt(run.encoding, _with_void(run)))


def _untransferred_probs(run: Run) -> Tensor:
    return run.subject.network.encoder.classify(run.clip.embeddings, run.subject.categories).softmax(dim=-1)


def _scaled_logits(run: Run, scale: str) -> Tensor:
    return _clip_logits(with_logit_scale(run.subject, float(scale)).run(run.name))


def _semantic_config(run: Run) -> Run:
    return with_arrangement(run.subject, "semantic").run(run.name)


TRANSFER: dict[str, Callable[..., Tensor]] = {
    r"transfer/image_features": lambda run: run.encoding.transfer_features,
    r"transfer/position_encoding": _positions,
    # the same for all images
    r"transfer/classifier_before": lambda run: _with_void(run).in_vocab,
    r"transfer/query_tokens": lambda run: _attention_input(run, 0),
    r"transfer/key_tokens": lambda run: _attention_input(run, 1),
    r"transfer/value_tokens": lambda run: _attention_input(run, 2),
    r"transfer/attention_weights_head_mean": _attention_weights,
    r"transfer/attention_output": _output(".attention"),
    r"transfer/linear_output": _output(".linear"),
    r"transfer/norm_output": _output(".norm"),
    r"transfer/classifier_after": _output(""),
    r"clip/out_vocab_logits": _clip_logits,
    r"clip/out_vocab_probs_if_not_transferred": _untransferred_probs,
    r"final/(?:class|log)_probs": _final_probs,
    r"case_semantic_config/classifier_after": lambda run: _output("")(_semantic_config(run)),
    r"case_semantic_config/out_vocab_probs": lambda run: _semantic_config(run).clip_probs(run.clip),
    r"case_zero_linear/classifier_after": lambda run: _output("")(without_linear(run.subject).run(run.name)),
    r"case_logit_scale_([\d.]+)/out_vocab_logits": _scaled_logits,
}
