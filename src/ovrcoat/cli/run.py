"""The work of `ovrcoat segment`: answers are written and told one by one; bad images are told and skipped.

Images are read ahead and answers are written behind, each in a thread; all else happens in the caller's.
"""

import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ovrcoat.cli.options import Machine, Report, SegmentationPrompt
from ovrcoat.cli.output_names import output_names
from ovrcoat.cli.terminal import print_error, print_line, print_note
from ovrcoat.errors import ImageError
from ovrcoat.results.writers import RunWriter
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.vocabulary import Vocabulary


@dataclass(slots=True)
class Run:
    """What has become of the images so far."""

    images: tuple[Path, ...]
    report: Report
    failed: dict[Path, str] = field(default_factory=dict)  # image → why it was skipped
    done: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)  # for --json only: a long run has many
    interrupted: bool = False

    @property
    def status(self) -> int:
        """The exit status: 130 interrupted, 1 an image was skipped, 0 all good."""
        return 130 if self.interrupted else int(bool(self.failed))

    def answers(
        self, vocabulary: Vocabulary, *, prompt: SegmentationPrompt, machine: Machine
    ) -> Generator[AnyResult, None, None]:
        """The results of the images that can be read, computed as they are asked for.

        Raises:
            OvrcoatError: the model, the words or a setting cannot be used; at once, before an image is read.
        """
        segmenter = Segmenter.load(
            machine.model, device=machine.device, dtype=machine.dtype, compile=machine.compile
        )
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            answers = segmenter.segment_many(
                self.images,
                vocabulary,
                task=prompt.task,
                trust=prompt.trust,
                background=prompt.background,
                object_mask_threshold=prompt.threshold,
                overlap_threshold=prompt.overlap,
                batch_size=machine.batch_size,
                on_error=self.skip,
            )
        if not self.report.quiet:
            for doubt in doubts:
                print_note(f"warning: {doubt.message}")
        return answers

    def skip(self, image: object, error: ImageError) -> None:
        """Remember that `image` cannot be read."""
        self.failed[Path(str(image))] = str(error)

    def write(self, answers: Generator[AnyResult, None, None], writer: RunWriter) -> None:
        """Write and tell each answer as it comes, in the order of the photos.

        Raises:
            OutputError: a file cannot be written.
        """
        silent = self.report.quiet or len(self.images) == 1
        untold = self._answered()

        def tell(answer: AnyResult, written: Sequence[Path]) -> None:
            image = next(untold)
            self.done += 1
            progress.update(self.done + len(self.failed) - progress.n)
            with tqdm.external_write_mode():  # the progress bar steps aside
                self._tell(image, replace(answer, name=image.name), written)

        # None: a bar on a terminal only
        with (
            closing(answers),
            tqdm(total=len(self.images), unit="image", disable=True if silent else None) as progress,
        ):
            try:
                writer.add_all(self._named(answers), tell=tell)
            finally:
                deque(untold, maxlen=0)  # complains of those behind the last answer

    def _named(self, answers: Iterator[AnyResult]) -> Iterator[AnyResult]:
        """Give answers the name of their files."""
        named = iter(zip(self.images, output_names(self.images), strict=True))
        for answer in answers:
            # images that fail are skipped before the answer of any image behind them comes
            image, name = next(pair for pair in named if pair[0] not in self.failed)
            yield replace(answer, name=f"{name}{image.suffix}")
            del answer  # or it would live until the next one is there

    def _answered(self) -> Iterator[Path]:
        """The images that have an answer; complains of the others in passing."""
        for image in self.images:
            if image not in self.failed:
                yield image
            else:
                with tqdm.external_write_mode():
                    print_error(self.failed[image])

    def _tell(self, image: Path, answer: AnyResult, written: Sequence[Path]) -> None:
        if self.report.json:
            height, width = answer.size
            self.records.append(
                {
                    "file": str(image),
                    "width": width,
                    "height": height,
                    "written": [str(path) for path in written],
                    "segments": [segment.to_coco() for segment in answer.segments],
                }
            )
        elif not self.report.quiet:
            print_line(answer.summary())
            print_line(f"→ {', '.join(map(str, written))}\n")
