"""Random training samples. Each is a function of the seed and its number, so no sampler state is saved."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ovrcoat.training.crops import Crop, Cropper
from ovrcoat.training.sources import ImageSource
from ovrcoat.vocabulary import Category

SEED_STRIDE = 1_000_003  # prime; runs of consecutive seeds share no sample seed below this many samples


def map_categories(dataset_categories: Sequence[Category], vocabulary: Sequence[Category]) -> dict[int, int]:
    """Map category ids of a dataset to indices in the training vocabulary, for categories that share a name.

    A category without a match is left out. Its segments train masks, but not classification.
    """
    index_of = {name: index for index, category in enumerate(vocabulary) for name in category.names}
    found = {}
    for category in dataset_categories:
        matches = [index_of[name] for name in category.names if name in index_of]
        if matches:
            found[category.id] = matches[0]
    return found


class Samples(torch.utils.data.Dataset[Crop]):
    """All samples of a run by number. Sample n is the same in every process and after every restart.

    Args:
        sources: datasets to draw from, by their weights and with replacement.
        croppers: one for each source.
        seed: of the run.
    """

    def __init__(self, sources: Sequence[ImageSource], croppers: Sequence[Cropper], *, seed: int) -> None:
        self.sources = sources
        self.croppers = croppers
        self.seed = seed
        self._weights = torch.tensor([source.weight for source in sources])

    def __getitem__(self, number: int) -> Crop:
        """Draw a source, an image and a crop. The caller's random state is left unchanged."""
        seed = sample_seed(self.seed, number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            index = int(torch.multinomial(self._weights, 1))
            source = self.sources[index]
            record = source.records[int(torch.randint(len(source.records), ()))]
            return replace(self.croppers[index](source.image(record)), seed=seed)


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
