"""Open-vocabulary panoptic segmentation: a photo and any words in, named segments out."""

import importlib
from typing import TYPE_CHECKING, Any

from ovrcoat._version import __version__
from ovrcoat.errors import OvrcoatError

if TYPE_CHECKING:
    from ovrcoat.results import InstanceResult, PanopticResult, Segment, SemanticResult
    from ovrcoat.segmenter import Segmenter
    from ovrcoat.vocabulary import Category, Vocabulary

__all__ = [
    "Category",
    "InstanceResult",
    "OvrcoatError",
    "PanopticResult",
    "Segment",
    "Segmenter",
    "SemanticResult",
    "Vocabulary",
    "__version__",
]

# Imported when first asked for (PEP 562), so that `import ovrcoat` is instant and needs no torch.
_HOMES = {
    "Category": "ovrcoat.vocabulary",
    "InstanceResult": "ovrcoat.results",
    "PanopticResult": "ovrcoat.results",
    "Segment": "ovrcoat.results",
    "Segmenter": "ovrcoat.segmenter",
    "SemanticResult": "ovrcoat.results",
    "Vocabulary": "ovrcoat.vocabulary",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ovrcoat' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
