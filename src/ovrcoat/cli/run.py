"""The work of `ovrcoat segment`: answers are written and told one by one; bad photos are told and skipped.

Photos are read ahead and answers are written behind, each in a thread; all else happens in the caller's.
"""

import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.cli.options import Machine, Question, Report
from ovrcoat.cli.output_names import output_names
from ovrcoat.cli.terminal import complain, note, say
from ovrcoat.errors import ImageError
from ovrcoat.results.writers import RunWriter
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.vocabulary import Vocabulary


@dataclass(slots=True)
class Run:
    """What has become of the photos so far."""

    photos: tuple[Path, ...]
    report: Report
    failed: dict[Path, str] = field(default_factory=dict)  # photo → why it was skipped
    done: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)  # for --json only: a long run has many
    interrupted: bool = False

    @property
    def status(self) -> int:
        """The exit status: 130 interrupted, 1 a photo was skipped, 0 all good."""
        return 130 if self.interrupted else int(bool(self.failed))

    def answers(
        self, vocabulary: Vocabulary, *, question: Question, machine: Machine
    ) -> Generator[AnyResult, None, None]:
        """The results of the photos that can be read, computed as they are asked for.

        Raises:
            OvrcoatError: the model, the words or a setting cannot be used; at once, before a photo is read.
        """
        segmenter = Segmenter.load(
            machine.model, device=machine.device, dtype=machine.dtype, compile=machine.compile
        )
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            answers = segmenter.segment_many(
                self.photos,
                vocabulary,
                task=question.task,
                trust=question.trust,
                background=question.background,
                object_mask_threshold=question.threshold,
                overlap_threshold=question.overlap,
                batch_size=machine.batch_size,
                on_error=self.skip,
            )
        if not self.report.quiet:
            for doubt in doubts:
                note(f"warning: {doubt.message}")
        return answers

    def skip(self, photo: object, error: ImageError) -> None:
        """Remember that `photo` cannot be read."""
        self.failed[Path(str(photo))] = str(error)

    def write(self, answers: Generator[AnyResult, None, None], writer: RunWriter) -> None:
        """Write and tell each answer as it comes, in the order of the photos.

        Raises:
            OutputError: a file cannot be written.
        """
        silent = self.report.quiet or len(self.photos) == 1
        untold = self._answered()

        def tell(answer: AnyResult, written: Sequence[Path]) -> None:
            photo = next(untold)
            self.done += 1
            progress.update(self.done + len(self.failed) - progress.n)
            with tqdm.external_write_mode():  # the progress bar steps aside
                self._tell(photo, replace(answer, name=photo.name), written)

        # None: a bar on a terminal only
        with (
            closing(answers),
            tqdm(total=len(self.photos), unit="photo", disable=True if silent else None) as progress,
        ):
            try:
                writer.add_all(self._named(answers), tell=tell)
            finally:
                deque(untold, maxlen=0)  # complains of those behind the last answer

    def _named(self, answers: Iterator[AnyResult]) -> Iterator[AnyResult]:
        """Give answers the name of their files."""
        named = iter(zip(self.photos, output_names(self.photos), strict=True))
        for answer in answers:
            # photos that fail are skipped before the answer of any photo behind them comes
            photo, name = next(pair for pair in named if pair[0] not in self.failed)
            yield replace(answer, name=f"{name}{photo.suffix}")
            del answer  # or it would live until the next one is there

    def _answered(self) -> Iterator[Path]:
        """The photos that have an answer; complains of the others in passing."""
        for photo in self.photos:
            if photo not in self.failed:
                yield photo
            else:
                with tqdm.external_write_mode():
                    complain(self.failed[photo])

    def _tell(self, photo: Path, answer: AnyResult, written: Sequence[Path]) -> None:
        if self.report.json:
            height, width = answer.size
            self.records.append(
                {
                    "file": str(photo),
                    "width": width,
                    "height": height,
                    "written": [str(path) for path in written],
                    "segments": [segment.to_coco() for segment in answer.segments],
                }
            )
        elif not self.report.quiet:
            say(answer.summary())
            say(f"→ {', '.join(map(str, written))}\n")
