"""Open-vocabulary panoptic segmentation: an image and any words in, named segments out."""

import importlib
from typing import TYPE_CHECKING, Any

from ovrcoat._version import __version__
from ovrcoat.errors import OvrcoatError

if TYPE_CHECKING:
    from ovrcoat.data.catalog import open_dataset
    from ovrcoat.evaluation.evaluator import evaluate
    from ovrcoat.evaluation.plan import EvaluationSettings
    from ovrcoat.evaluation.reports.report import EvaluationReport
    from ovrcoat.results import InstanceResult, PanopticResult, Segment, SemanticResult
    from ovrcoat.segmentation.segmenter import Segmenter
    from ovrcoat.vocabulary import Category, Vocabulary

__all__ = [
    "Category",
    "EvaluationReport",
    "EvaluationSettings",
    "InstanceResult",
    "OvrcoatError",
    "PanopticResult",
    "Segment",
    "Segmenter",
    "SemanticResult",
    "Vocabulary",
    "__version__",
    "evaluate",
    "open_dataset",
]

# Imported when first asked for (PEP 562), so that `import ovrcoat` is instant and needs no torch.
_HOMES = {
    "Category": "ovrcoat.vocabulary",
    "EvaluationReport": "ovrcoat.evaluation.reports.report",
    "EvaluationSettings": "ovrcoat.evaluation.plan",
    "InstanceResult": "ovrcoat.results",
    "PanopticResult": "ovrcoat.results",
    "Segment": "ovrcoat.results",
    "Segmenter": "ovrcoat.segmentation.segmenter",
    "SemanticResult": "ovrcoat.results",
    "Vocabulary": "ovrcoat.vocabulary",
    "evaluate": "ovrcoat.evaluation.evaluator",
    "open_dataset": "ovrcoat.data.catalog",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ovrcoat' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
