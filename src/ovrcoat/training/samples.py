"""Random training samples. Each is a function of the seed and its number, so no sampler state is saved."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from ovrcoat.errors import DatasetError, OvrcoatError
from ovrcoat.training.crops import Crop, Cropper, LabeledImage
from ovrcoat.training.sources import ImageSource
from ovrcoat.vocabulary import Category
from ovrcoat.vocabulary.names import match_categories

MAX_DRAWS = 100  # images in a row that may be unusable
SEED_STRIDE = 1_000_003  # prime; runs of consecutive seeds share no sample seed below this many samples


def map_categories(dataset_categories: Sequence[Category], vocabulary: Sequence[Category]) -> dict[int, int]:
    """Map category ids of a dataset to indices in the training vocabulary, for categories that share a name.

    `match_categories` compares the names. A category without a match is left out. Its segments train masks,
    but not classification.
    """
    return match_categories(dataset_categories, vocabulary)


class Samples(torch.utils.data.Dataset[Crop]):
    """All samples of a run by number. Sample n is the same in every process and after every restart.

    Args:
        sources: datasets to draw from, by their weights and with replacement.
        croppers: one for each source.
        seed: of the run.
        augmentations: applied to each crop, in this order.
    """

    def __init__(
        self,
        sources: Sequence[ImageSource],
        croppers: Sequence[Cropper],
        *,
        seed: int,
        augmentations: Sequence[Callable[[Crop], Crop]] = (),
    ) -> None:
        self.sources = sources
        self.croppers = croppers
        self.augmentations = augmentations
        self.seed = seed
        self._weights = torch.tensor([source.weight for source in sources])

    def __getitem__(self, number: int) -> Crop:
        """Draw a source, an image and a crop. The caller's random state is left unchanged.

        Raises:
            DatasetError: an image or its labels cannot be used; with `on_error: skip`, many in a row.
        """
        seed = sample_seed(self.seed, number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            index = int(torch.multinomial(self._weights, 1))
            image, skipped = _draw_image(self.sources[index])
            crop = self.croppers[index](image)
            for augment in self.augmentations:
                crop = augment(crop)
            return replace(crop, seed=seed, skipped=skipped)


def _draw_image(source: ImageSource) -> tuple[LabeledImage, tuple[str, ...]]:
    """Draw an image that can be used; also return why others were skipped.

    The draws depend on torch's random state and the files alone, so a resumed run draws the same.
    """
    skipped: list[str] = []
    while True:
        record = source.records[int(torch.randint(len(source.records), ()))]
        try:
            return source.image(record), tuple(skipped)
        except DatasetError as error:
            if source.on_error == "raise":
                raise
            skipped.append(str(error))
            if len(skipped) == MAX_DRAWS:
                raise DatasetError(
                    f"{source.dataset.name}: {MAX_DRAWS} images in a row cannot be used, such as: {error}"
                ) from error


class GuardedSamples(torch.utils.data.Dataset[Crop | OvrcoatError]):
    """Returns errors instead of raising them.

    A `DataLoader` would add the traceback of its worker process to the message of an error that is raised.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, number: int) -> Crop | OvrcoatError:
        """Return sample `number`, or the reason why it cannot be read."""
        try:
            return self._samples[number]
        except OvrcoatError as error:
            return error


class SampleNumbers(torch.utils.data.Sampler[int]):
    """The sample numbers of one process: its share of every step, from `first_step` on."""

    def __init__(self, *, first_step: int, steps: int, batch_size: int, process: int, processes: int) -> None:
        self._steps = range(first_step, steps)
        self._batch_size = batch_size
        self._positions = range(process, batch_size, processes)

    def __iter__(self) -> Iterator[int]:
        for step in self._steps:
            for position in self._positions:
                yield step * self._batch_size + position

    def __len__(self) -> int:
        return len(self._steps) * len(self._positions)


def sample_seed(seed: int, number: int) -> int:
    """Return the seed of all randomness of a sample, including its points in the losses."""
    return (seed * SEED_STRIDE + number) % 2**63
