"""Image features pooled under ground-truth masks, cached in files.

Pooling takes minutes; fitting the alignment takes seconds. Features are therefore computed once per dataset.
The name of a cache file contains a hash of everything that the features depend on.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from ovrcoat.config import InferenceConfig
from ovrcoat.data.files import FileTree
from ovrcoat.data.images import read_image
from ovrcoat.data.transforms import batch_images, resize, test_size
from ovrcoat.errors import CheckpointError, DatasetError
from ovrcoat.model.encoders.nano import LiteTrunk, NanoEncoder, SentenceTower
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.segmentation.user_masks import embed_masks
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.system.fingerprints import module_fingerprint
from ovrcoat.training.sources import ImageSource

POOLING_VERSION = 1  # increase it when the pooling changes, so that older cache files are not used
MIN_SEGMENT_SHARE = 0.003  # of the image area; smaller segments carry little information at stride 32
LABELS_ADVICE = (
    "A folder of class images contains images/ and labels.json, a list of objects with file_name and wnid "
    "(WordNet id)."
)


@dataclass(frozen=True, slots=True, eq=False)
class PooledSegments:
    """Unit image features of segments.

    Attributes:
        features: one unit vector per segment.
        labels: index in `names` of each segment.
        names: of the classes.
        images: file of each segment's image.
    """

    features: Float[Tensor, "segment channel"]
    labels: Int[Tensor, " segment"]
    names: tuple[str, ...]
    images: tuple[str, ...]


class Pooler:
    """Pools features at the model's test size, in the same way as masks are classified at inference.

    Args:
        trunk: the image tower.
        inference: test size.
        folder: of the cache files.
    """

    def __init__(self, trunk: LiteTrunk, inference: InferenceConfig, *, folder: Path) -> None:
        self._encoder = without_projection(trunk)
        self._inference = inference
        self._folder = folder
        self._trunk_hash = module_fingerprint(trunk, "trunk")

    def segments(self, source: ImageSource) -> PooledSegments:
        """Pool the segments of a dataset, except crowds and very small ones. Labels are category names.

        Raises:
            DatasetError: a file is missing or damaged.
            CheckpointError: the cache file is damaged.
        """
        name_of = {category.id: category.name for category in source.dataset.categories}

        def masks() -> Iterator[_MaskedImage]:
            for record in source.records:
                image = source.image(record)
                ids, counts = np.unique(image.truth.id_map, return_counts=True)
                share = dict(zip(ids.tolist(), (counts / image.truth.id_map.size).tolist(), strict=True))
                kept = [
                    segment
                    for segment in image.truth.segments
                    if not segment.is_crowd and share.get(segment.id, 0.0) >= MIN_SEGMENT_SHARE
                ]
                inside = np.stack([image.truth.id_map == segment.id for segment in kept]) if kept else None
                names = [name_of[segment.category_id] for segment in kept]
                yield _MaskedImage(record.image, image.pixels, inside, names)

        title, key = source.dataset.name, source.dataset.fingerprint()
        return self._cached(title, key, lambda: self._pool(masks(), title, total=len(source.records)))

    def class_images(self, folder: Path) -> PooledSegments:
        """Pool whole images of a folder with images/ and labels.json, labeled by WordNet id.

        Raises:
            DatasetError: a file is missing or damaged, or has another format.
            CheckpointError: the cache file is damaged.
        """
        tree = FileTree(folder, home=folder.name)
        content = tree.read("labels.json", advice=LABELS_ADVICE)
        entries = read_labels(content, path=tree.describe("labels.json"))

        def masks() -> Iterator[_MaskedImage]:
            for file_name, wnid in entries:
                pixels = read_image(tree.read(f"images/{file_name}")).pixels
                yield _MaskedImage(file_name, pixels, np.ones((1, *pixels.shape[:2]), dtype=bool), [wnid])

        key = hashlib.sha256(content).hexdigest()
        return self._cached(folder.name, key, lambda: self._pool(masks(), folder.name, total=len(entries)))

    @torch.no_grad()
    def _pool(self, images: "Iterator[_MaskedImage]", title: str, *, total: int) -> PooledSegments:
        """Pool one image after the other, with a progress bar on a terminal."""
        features: list[Tensor] = []
        segment_names: list[str] = []
        segment_images: list[str] = []
        settings = self._inference
        for image in tqdm(images, total=total, desc=f"pooling {title}", unit=" images", disable=None):
            if image.masks is None:
                continue
            size = test_size(
                image.pixels.shape[:2], short_side=settings.short_side, max_long_side=settings.max_long_side
            )
            batch = batch_images([resize(image.pixels, size)], stride=self._encoder.stride)
            sizes = ImageSizes(batch.padded_size, batch.valid_sizes[0], output=image.pixels.shape[:2])
            clip_features = self._encoder(batch).clip_features
            embedded = embed_masks(self._encoder, clip_features, masks=image.masks, sizes=sizes)
            features.append(embedded.embeddings[0])
            segment_names.extend(image.names)
            segment_images.extend([image.file] * len(image.names))
        if not features:
            raise DatasetError(f"{title}: no segment is large enough to be pooled; use other images")
        names = tuple(sorted(set(segment_names)))
        index_of = {name: index for index, name in enumerate(names)}
        labels = torch.tensor([index_of[name] for name in segment_names])
        return PooledSegments(torch.cat(features), labels, names, tuple(segment_images))

    def _cached(self, title: str, key: str, compute: Callable[[], PooledSegments]) -> PooledSegments:
        """Read the cache file, or compute the features and write it."""
        settings = self._inference
        inputs = (
            POOLING_VERSION,
            MIN_SEGMENT_SHARE,
            settings.short_side,
            settings.max_long_side,
            self._trunk_hash,
            key,
        )
        digest = hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]
        file = self._folder / f"pooled-{title}-{digest}.pt"
        if file.is_file():
            return _read(file)
        pooled = compute()
        self._folder.mkdir(parents=True, exist_ok=True)
        plain = {field: getattr(pooled, field) for field in PooledSegments.__slots__}
        write_atomically(file, lambda opened: torch.save(plain, opened))
        return pooled


@dataclass(frozen=True, slots=True, eq=False)
class _MaskedImage:
    """An image with the masks to pool and the class name of each mask."""

    file: str
    pixels: UInt8[np.ndarray, "height width 3"]
    masks: Bool[np.ndarray, "mask height width"] | None
    names: Sequence[str]


def read_labels(content: bytes, *, path: str) -> list[tuple[str, str]]:
    """Parse labels.json into pairs of file name and WordNet id. (Names of ImageNet's classes are not unique.)

    Args:
        content: of the file.
        path: for messages.

    Raises:
        DatasetError: it is damaged, has another format, or lists no image.
    """
    try:
        entries: Any = json.loads(content)
        pairs = [(entry["file_name"], entry["wnid"]) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(f"{path}: {type(error).__name__}: {error}. {LABELS_ADVICE}") from error
    if not pairs:
        raise DatasetError(f"{path} lists no image. {LABELS_ADVICE}")
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise DatasetError(f"{path} contains a value that is not a string. {LABELS_ADVICE}")
    return pairs


def without_projection(trunk: LiteTrunk) -> NanoEncoder:
    """Return an encoder whose mask embeddings are the unit features that the projection would receive."""
    # the text tower is not used here, so it is as small as possible
    text_tower = SentenceTower(vocabulary_size=1, width=1, heads=1, layers=0, feed_forward=1, positions=2)
    encoder = NanoEncoder(embedding_dim=1, text_tower=text_tower)
    encoder.visual_trunk = trunk
    encoder.projection = nn.Identity()  # type: ignore[assignment]
    return encoder.eval()


def _read(file: Path) -> PooledSegments:
    try:
        return PooledSegments(**torch.load(file, weights_only=True))
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{file}: the cached features cannot be read; delete the file to compute them again"
        ) from error
