"""Image features under true masks, kept in files: what the projection is taught on.

Pooling takes minutes, teaching seconds. So features are computed once per data set, in a file whose name
tells all that they depend on.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from ovrcoat.segmentation.mask_classification import embed_masks
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.training.named_images import ADVICE, read_labels
from ovrcoat.training.sources import Source

RULE = 1  # raise it when pooling changes: files of another rule are not read
CLASS_NUMBER = "wnid"  # ImageNet's number of the class: names repeat
SMALLEST_SHARE = 0.003  # of the image; smaller segments say little at stride 32


@dataclass(frozen=True, slots=True, eq=False)
class PooledSegments:
    """Unit image features of segments, what they are called, and which image each comes from."""

    features: Float[Tensor, "segment channel"]
    labels: Int[Tensor, " segment"]  # positions in `names`
    names: tuple[str, ...]
    images: tuple[str, ...]  # one per segment


class Pooler:
    """Pools features at a model's test size, by the rule that names masks in use; keeps them in `folder`."""

    def __init__(self, trunk: LiteTrunk, inference: InferenceConfig, *, folder: Path) -> None:
        self._encoder = unprojected(trunk)
        self._inference = inference
        self._folder = folder
        self._trunk_hash = hash_weights(trunk)

    def segments(self, source: Source) -> PooledSegments:
        """Every segment of a data set that is no crowd and not tiny, called by its category's first name.

        Raises:
            DatasetError: a file is missing or damaged.
            CheckpointError: the kept features are damaged.
        """
        names = {category.id: category.name for category in source.dataset.categories}

        def masks() -> Iterator[_Masks]:
            for record in source.records:
                image = source.image(record)
                ids, counts = np.unique(image.truth.id_map, return_counts=True)
                share = dict(zip(ids.tolist(), (counts / image.truth.id_map.size).tolist(), strict=True))
                kept = [
                    segment
                    for segment in image.truth.segments
                    if not segment.is_crowd and share.get(segment.id, 0.0) >= SMALLEST_SHARE
                ]
                inside = np.stack([image.truth.id_map == segment.id for segment in kept]) if kept else None
                yield _Masks(record.image, image.pixels, inside, [names[s.category_id] for s in kept])

        name, key = source.dataset.name, source.dataset.fingerprint()
        return self._kept(name, key, lambda: self._pool(masks(), name, total=len(source.records)))

    def named_images(self, folder: Path) -> PooledSegments:
        """Whole images of a folder with images/ and labels.json, called by their WordNet ids.

        Raises:
            DatasetError: a file is missing, damaged or of another form.
            CheckpointError: the kept features are damaged.
        """
        tree = FileTree(folder, home=folder.name)
        content = tree.read("labels.json", advice=ADVICE.format(key=CLASS_NUMBER))
        entries = read_labels(content, key=CLASS_NUMBER, place=tree.describe("labels.json"))

        def masks() -> Iterator[_Masks]:
            for file_name, wnid in entries:
                pixels = read_image(tree.read(f"images/{file_name}")).pixels
                yield _Masks(file_name, pixels, np.ones((1, *pixels.shape[:2]), dtype=bool), [wnid])

        key = hashlib.sha256(content).hexdigest()
        return self._kept(folder.name, key, lambda: self._pool(masks(), folder.name, total=len(entries)))

    @torch.no_grad()
    def _pool(self, images: "Iterator[_Masks]", title: str, *, total: int) -> PooledSegments:
        """Pool image after image, with a progress bar on a terminal."""
        features: list[Tensor] = []
        words: list[str] = []
        owners: list[str] = []
        settings = self._inference
        for image in tqdm(images, total=total, desc=f"pooling {title}", unit=" photos", disable=None):
            if image.inside is None:
                continue
            size = test_size(
                image.pixels.shape[:2], short_side=settings.short_side, max_long_side=settings.max_long_side
            )
            batch = batch_images([resize(image.pixels, size)])
            features.append(embed_masks(self._encoder, batch, masks=image.inside))
            words.extend(image.words)
            owners.extend([image.name] * len(image.words))
        if not features:
            raise DatasetError(f"{title}: no segment is large enough to teach a word; give other images")
        names = tuple(sorted(set(words)))
        position = {name: place for place, name in enumerate(names)}
        labels = torch.tensor([position[word] for word in words])
        return PooledSegments(torch.cat(features), labels, names, tuple(owners))

    def _kept(self, name: str, key: str, make: Callable[[], PooledSegments]) -> PooledSegments:
        """What an earlier run has kept; else made now, and kept."""
        settings = self._inference
        depends = (RULE, SMALLEST_SHARE, settings.short_side, settings.max_long_side, self._trunk_hash, key)
        digest = hashlib.sha256(repr(depends).encode()).hexdigest()[:16]
        file = self._folder / f"pooled-{name}-{digest}.pt"
        if file.is_file():
            return _read(file)
        pooled = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        plain = {field: getattr(pooled, field) for field in PooledSegments.__slots__}
        write_atomically(file, lambda opened: torch.save(plain, opened))
        return pooled


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """An image with the masks to pool, and a word for each."""

    name: str
    pixels: UInt8[np.ndarray, "height width 3"]
    inside: Bool[np.ndarray, "mask height width"] | None
    words: Sequence[str]


def unprojected(trunk: LiteTrunk) -> NanoEncoder:
    """An encoder whose mask embeddings are the unit features that go into the projection."""
    # nothing asks the text tower here: the smallest there can be
    words = SentenceTower(vocabulary_size=1, width=1, heads=1, layers=0, feed_forward=1, positions=2)
    encoder = NanoEncoder(embedding_dim=1, text_tower=words)
    encoder.visual_trunk = trunk
    encoder.projection = nn.Identity()  # type: ignore[assignment]
    return encoder.eval()


def _read(file: Path) -> PooledSegments:
    try:
        return PooledSegments(**torch.load(file, weights_only=True))
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{file}: these kept features cannot be read; delete the file: it is made anew"
        ) from error


def hash_weights(module: nn.Module) -> str:
    """SHA-256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
