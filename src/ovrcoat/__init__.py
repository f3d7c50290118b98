"""Open-vocabulary panoptic segmentation: segment images into the classes of any vocabulary.

Load a model, segment an image, look at the result:

    from ovrcoat import Segmenter

    segmenter = Segmenter.load("nano")
    result = segmenter.segment("photo.jpg", "cat, kitty; sofa, couch; wall#stuff")
    print(result.summary())
    result.draw().save("overlay.jpg")

Inference
    Segmenter, EncodedImage, SegmentationPrompt, read_image, find_images, search_images,
    ImageSearch, and the types ImageInput, VocabularyInput of their arguments
Vocabularies
    Vocabulary, Category, Issue
Results
    PanopticResult, SemanticResult, InstanceResult, Segment, RunWriter,
    Explanation, ExplainedMask, MaskStatus, MaskLabel
Evaluation and training
    open_dataset, evaluate, EvaluationSettings, EvaluationReport, train
Errors
    OvrcoatError and its subclasses ConfigError, VocabularyError, ImageError, DatasetError,
    TrainingError, CheckpointError, OutputError, MissingExtraError

Importing this package imports nothing else; each name is imported when it is first used.
"""

import importlib

from ovrcoat._version import __version__
from ovrcoat.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    ImageError,
    MissingExtraError,
    OutputError,
    OvrcoatError,
    TrainingError,
    VocabularyError,
)

# Type checkers take this name as true. Importing `typing` would take longer than the rest of this file, and
# the command line handles Ctrl-C only after it.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from ovrcoat.data.catalog import open_dataset
    from ovrcoat.data.find_images import ImageSearch, find_images, search_images
    from ovrcoat.data.images import ImageInput, read_image
    from ovrcoat.evaluation.evaluator import evaluate
    from ovrcoat.evaluation.plan import EvaluationSettings
    from ovrcoat.evaluation.reports.report import EvaluationReport
    from ovrcoat.issues import Issue
    from ovrcoat.postprocessing.explained_masks import ExplainedMask
    from ovrcoat.postprocessing.mask_status import MaskStatus
    from ovrcoat.results import InstanceResult, PanopticResult, Segment, SemanticResult
    from ovrcoat.results.writers import RunWriter
    from ovrcoat.segmentation.encoded_image import EncodedImage
    from ovrcoat.segmentation.explanation import Explanation
    from ovrcoat.segmentation.mask_classification import MaskLabel
    from ovrcoat.segmentation.prompt import SegmentationPrompt
    from ovrcoat.segmentation.segmenter import Segmenter
    from ovrcoat.training.run import train
    from ovrcoat.vocabulary import Category, Vocabulary, VocabularyInput

__all__ = [
    "Category",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "EncodedImage",
    "EvaluationReport",
    "EvaluationSettings",
    "ExplainedMask",
    "Explanation",
    "ImageError",
    "ImageInput",
    "ImageSearch",
    "InstanceResult",
    "Issue",
    "MaskLabel",
    "MaskStatus",
    "MissingExtraError",
    "OutputError",
    "OvrcoatError",
    "PanopticResult",
    "RunWriter",
    "Segment",
    "SegmentationPrompt",
    "Segmenter",
    "SemanticResult",
    "TrainingError",
    "Vocabulary",
    "VocabularyError",
    "VocabularyInput",
    "__version__",
    "evaluate",
    "find_images",
    "open_dataset",
    "read_image",
    "search_images",
    "train",
]

# Imported on first use (PEP 562), so that `import ovrcoat` is instant and does not need torch.
_MODULES = {
    "Category": "ovrcoat.vocabulary",
    "EncodedImage": "ovrcoat.segmentation.encoded_image",
    "EvaluationReport": "ovrcoat.evaluation.reports.report",
    "EvaluationSettings": "ovrcoat.evaluation.plan",
    "ExplainedMask": "ovrcoat.postprocessing.explained_masks",
    "Explanation": "ovrcoat.segmentation.explanation",
    "ImageInput": "ovrcoat.data.images",
    "ImageSearch": "ovrcoat.data.find_images",
    "InstanceResult": "ovrcoat.results",
    "Issue": "ovrcoat.issues",
    "MaskLabel": "ovrcoat.segmentation.mask_classification",
    "MaskStatus": "ovrcoat.postprocessing.mask_status",
    "PanopticResult": "ovrcoat.results",
    "RunWriter": "ovrcoat.results.writers",
    "Segment": "ovrcoat.results",
    "SegmentationPrompt": "ovrcoat.segmentation.prompt",
    "Segmenter": "ovrcoat.segmentation.segmenter",
    "SemanticResult": "ovrcoat.results",
    "Vocabulary": "ovrcoat.vocabulary",
    "VocabularyInput": "ovrcoat.vocabulary",
    "evaluate": "ovrcoat.evaluation.evaluator",
    "find_images": "ovrcoat.data.find_images",
    "open_dataset": "ovrcoat.data.catalog",
    "read_image": "ovrcoat.data.images",
    "search_images": "ovrcoat.data.find_images",
    "train": "ovrcoat.training.run",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'ovrcoat' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return sorted(__all__)
