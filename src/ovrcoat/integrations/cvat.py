"""CVAT: an auto-annotation function, so that ovrcoat labels the images of a task on a CVAT server.

    cvat-cli task auto-annotate 42 --function-module ovrcoat.integrations.cvat \
        -p model=str:nano -p vocabulary=str:"cat; sofa; wall#stuff"

Needs the extra `cvat` (cvat-sdk).
"""

import itertools
from collections.abc import Iterator
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Bool
from PIL import Image

from ovrcoat.errors import ConfigError
from ovrcoat.formats.outlines import signed_area, trace_rings
from ovrcoat.results import InstanceResult
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Vocabulary

TASKS = ("panoptic", "instance")
INSTANCE_SCORE = 0.3  # minimum score of instances if CVAT gives none, as in overlays


class AutoAnnotation:
    """A detection function of `cvat_sdk.auto_annotation`.

    Args:
        vocabulary: class names, a preset, or the path of a vocabulary file. The labels of the CVAT task need
            the same names.
        model: a name listed by `ovrcoat models`, or the path of a .safetensors file.
        task: "panoptic" (things and stuff, without overlaps) or "instance" (things).
        background: background classes, as for `Segmenter.segment`.
        trust: COAT's γ from 0 to 1; None selects the model's own value.
        device: "cpu", "cuda" or "mps"; None selects the fastest.

    Attributes:
        spec: the labels, as CVAT requires it: one of type "mask" per category.

    Raises:
        OvrcoatError: the model or an option cannot be used, or cvat-sdk is not installed.
    """

    def __init__(
        self,
        vocabulary: str = "coco",
        *,
        model: str = "nano",
        task: str = "panoptic",
        background: str = "auto",
        trust: float | None = None,
        device: str | None = None,
    ) -> None:
        if task not in TASKS:
            raise ConfigError(f"the task {task!r} is not valid for CVAT; expected {' or '.join(TASKS)}")
        self._cvat = import_optional("cvat_sdk.auto_annotation", extra="cvat")
        self._masks = import_optional("cvat_sdk.masks", extra="cvat")
        self._segmenter = Segmenter.load(model, device=device)
        self._task = cast(Literal["panoptic", "instance"], task)
        self._groups = itertools.count(1)  # CVAT numbers groups per job, not per image
        self._prompt = self._segmenter.prompt(
            Vocabulary.read(vocabulary), task=self._task, background=background, trust=trust
        )
        self.spec = self._cvat.DetectionFunctionSpec(
            labels=[
                self._cvat.label_spec(category.name, category.id, type="mask")
                for category in self._prompt.vocabulary.categories
            ]
        )

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """Return the shapes of one image.

        Args:
            context: CVAT's options: `conf_threshold` is the minimum score, and `conv_mask_to_poly` requests
                polygons. A polygon cannot have a hole; the polygons of one segment form a group.
            image: the image, as CVAT loads it.
        """
        result = self._segmenter.encode(image).predict(self._prompt)
        threshold = context.conf_threshold
        if isinstance(result, InstanceResult):
            result = result.filtered(INSTANCE_SCORE if threshold is None else threshold)
        shapes: list[Any] = []
        for segment in result.segments:
            if threshold is not None and segment.score < threshold:
                continue
            mask = result.mask(segment.id)
            if context.conv_mask_to_poly:
                shapes += self._polygons(segment.category_id, mask, group=next(self._groups))
            else:
                shapes.append(self._cvat.mask(segment.category_id, self._masks.encode_mask(mask)))
        return shapes

    def _polygons(
        self, label_id: int, mask: Bool[np.ndarray, "height width"], *, group: int
    ) -> Iterator[Any]:
        for ring in trace_rings(mask):
            if signed_area(ring) > 0:
                yield self._cvat.polygon(label_id, ring.reshape(-1).astype(float).tolist(), group=group)


create = AutoAnnotation  # the name that CVAT calls
