"""The work of `ovrcoat segment`: results are written and reported one by one, unreadable images are skipped.

Images are prefetched and results are written behind, each in a background thread.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ovrcoat.cli.options import ModelOptions, OutputOptions
from ovrcoat.cli.output_names import output_names
from ovrcoat.cli.terminal import print_error, print_line
from ovrcoat.errors import ImageError
from ovrcoat.results.writers import RunWriter
from ovrcoat.segmentation.many_images import Batched
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.segmenter import Segmenter


def load_segmenter(model: ModelOptions) -> Segmenter:
    """Load the model that the options name.

    Raises:
        OvrcoatError: the model or a setting cannot be used.
    """
    return Segmenter.load(model.model, device=model.device, dtype=model.dtype, compile=model.compile)


@dataclass(slots=True)
class Run:
    """A run and its state so far.

    Attributes:
        images: the images to segment.
        output: what to print.
        failed: skipped images, with the reason.
        done: number of images that were written.
        records: one per written image, for --json only: a long run has many.
        interrupted: whether the run ended early.
    """

    images: tuple[Path, ...]
    output: OutputOptions
    failed: dict[Path, str] = field(default_factory=dict)
    done: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    _waiting: deque[Path] = field(default_factory=deque)  # predicted or failed, and not reported yet

    @property
    def status(self) -> int:
        """The exit status: 130 interrupted, 1 an image was skipped, 0 success."""
        return 130 if self.interrupted else int(bool(self.failed))

    def write(self, predictions: Batched, writer: RunWriter) -> None:
        """Write and report each result as it arrives, in the order of the images.

        Raises:
            OutputError: a file cannot be written.
        """
        silent = self.output.quiet or len(self.images) == 1

        def on_written(result: AnyResult, paths: Sequence[Path]) -> None:
            self._report_failed()
            image = self._waiting.popleft()
            self.done += 1
            progress.update(self.done + len(self.failed) - progress.n)
            with tqdm.external_write_mode():  # hides the progress bar while something is printed
                self._report(image, replace(result, name=image.name), paths)

        # None: a progress bar on a terminal only
        with (
            closing(predictions),
            tqdm(total=len(self.images), unit="image", disable=True if silent else None) as progress,
        ):
            try:
                writer.add_all(self._results(predictions), on_written=on_written)
            finally:
                self._report_failed()

    def _results(self, predictions: Batched) -> Iterator[AnyResult]:
        """Yield the results, named like their output files; remember which images failed."""
        for image, name in zip(self.images, output_names(self.images), strict=True):
            prediction = _next_prediction(predictions)
            self._waiting.append(image)
            if isinstance(prediction, ImageError):
                self.failed[image] = str(prediction)
            else:
                yield replace(prediction, name=f"{name}{image.suffix}")
            del prediction  # or this frame would keep it in memory until the next one exists

    def _report_failed(self) -> None:
        """Report the failed images that come before the next result."""
        while self._waiting and self._waiting[0] in self.failed:
            with tqdm.external_write_mode():
                print_error(self.failed[self._waiting.popleft()])

    def _report(self, image: Path, result: AnyResult, written: Sequence[Path]) -> None:
        if self.output.json:
            height, width = result.size
            self.records.append(
                {
                    "file": str(image),
                    "width": width,
                    "height": height,
                    "written": [str(path) for path in written],
                    "segments": [segment.to_coco() for segment in result.segments],
                }
            )
        elif not self.output.quiet:
            print_line(result.summary())
            print_line(f"→ {', '.join(map(str, written))}\n")


def _next_prediction(predictions: Generator[tuple[Any, AnyResult | ImageError], None, None]) -> Any:
    """Return the next prediction without its source, which is the next of the run's images."""
    return next(predictions)[1]
