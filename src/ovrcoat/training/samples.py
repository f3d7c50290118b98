"""Which photo is seen when: every sample is a function of the seed and its number; nothing needs saving."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from ovrcoat.training.crops import Crop, Cropper
from ovrcoat.training.sources import PhotoSource
from ovrcoat.vocabulary import Category

STRIDE_OF_SEEDS = 1_000_003  # a prime above the number of samples between which seeds could meet


def category_numbers(
    dataset_categories: Sequence[Category], vocabulary: Sequence[Category]
) -> dict[int, int]:
    """Category id in a data set → position in the training vocabulary, for those that share a name.

    Categories that share none are left out: their segments teach masks, but no name.
    """
    position_of = {name: place for place, category in enumerate(vocabulary) for name in category.names}
    found = {}
    for category in dataset_categories:
        places = [position_of[name] for name in category.names if name in position_of]
        if places:
            found[category.id] = places[0]
    return found


class Samples(torch.utils.data.Dataset[Crop]):
    """All samples of a run, by number: sample n of the run is the same whenever and wherever it is made."""

    def __init__(
        self,
        sources: Sequence[PhotoSource],
        croppers: Sequence[Cropper],
        *,
        seed: int,
        augmentations: Sequence[Callable[[Crop], Crop]] = (),
    ) -> None:
        self.sources = sources
        self.croppers = croppers  # one per source
        self.augmentations = augmentations  # applied to each crop, one after the other
        self.seed = seed
        self._weights = torch.tensor([source.weight for source in sources])

    def __getitem__(self, number: int) -> Crop:
        """Draw a data set, a photo and a crop; the caller's random state stays as it was."""
        seed = sample_seed(self.seed, number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            place = int(torch.multinomial(self._weights, 1))
            source = self.sources[place]
            record = source.records[int(torch.randint(len(source.records), ()))]
            crop = self.croppers[place](source.photo(record))
            for augment in self.augmentations:
                crop = augment(crop)
            return replace(crop, seed=seed)


class SampleNumbers(torch.utils.data.Sampler[int]):
    """The sample numbers of one process: its own share of every step, from `first_step` on."""

    def __init__(self, *, first_step: int, steps: int, batch_size: int, process: int, processes: int) -> None:
        self._steps = range(first_step, steps)
        self._batch_size = batch_size
        self._own = range(process, batch_size, processes)

    def __iter__(self) -> Iterator[int]:
        for step in self._steps:
            for place in self._own:
                yield step * self._batch_size + place

    def __len__(self) -> int:
        return len(self._steps) * len(self._own)


def sample_seed(seed: int, number: int) -> int:
    """The seed of everything random about a sample, its points in the losses included."""
    return (seed * STRIDE_OF_SEEDS + number) % 2**63
