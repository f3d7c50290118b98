"""The work of `ovrcoat segment`: results are written and reported one by one, unreadable images are skipped.

Images are prefetched and results are written behind, each in a background thread.
"""

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ovrcoat.cli.options import ModelOptions, OutputOptions, PromptOptions
from ovrcoat.cli.output_names import output_names
from ovrcoat.cli.rejected_overlay import predict_with_rejected
from ovrcoat.cli.terminal import print_error, print_line, print_note
from ovrcoat.cli.viewer import show_file
from ovrcoat.data.find_images import ImageSearch
from ovrcoat.data.images import LoadedImage
from ovrcoat.errors import ImageError
from ovrcoat.results.writers import RunWriter, source_facts
from ovrcoat.segmentation.many_images import ResultIterator, predict_each
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.paths import printable
from ovrcoat.system.signals import exit_status
from ovrcoat.vocabulary import Vocabulary


def encode_prompt(segmenter: Segmenter, vocabulary: Vocabulary, options: PromptOptions) -> SegmentationPrompt:
    """Encode a vocabulary, whose background classes are chosen already, with the options.

    Raises:
        OvrcoatError: the vocabulary or an option cannot be used.
    """
    return segmenter.prompt(
        vocabulary,
        task=options.task,
        trust=options.trust,
        background="keep",
        object_mask_threshold=options.object_mask_threshold,
        overlap_threshold=options.overlap_threshold,
        score_threshold=options.score_threshold,
    )


@dataclass(slots=True)
class Run:
    """A run and its state so far.

    Attributes:
        search: the images to segment, what was left out, and sources without images.
        output: what to print.
        image: the image, if there is only one and it has been read.
        failed: skipped images, with the reason.
        done: number of images that were written.
        records: one per written image, for --json only: a long run has many.
        interrupted: exit status if the run ended early, else 0.
        resumed: images that an interrupted run has written.
        overlay: the overlay that was written last.
    """

    search: ImageSearch
    output: OutputOptions
    image: LoadedImage | None = None
    failed: dict[Path, str] = field(default_factory=dict)
    done: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    interrupted: int = 0
    resumed: frozenset[Path] = frozenset()
    overlay: Path | None = None
    _waiting: deque[Path] = field(default_factory=deque)  # predicted or failed, and not reported yet

    @property
    def images(self) -> tuple[Path, ...]:
        """The images to segment."""
        return self.search.images

    @property
    def status(self) -> int:
        """The exit status: that of an interrupt, 1 an image or a source was skipped, 0 success."""
        return self.interrupted or int(bool(self.failed or self.search.failed))

    @property
    def remaining(self) -> tuple[Path, ...]:
        """The images that are not written yet."""
        return tuple(image for image in self.images if image not in self.resumed)

    def execute(
        self,
        segmenter: Segmenter,
        prompt: SegmentationPrompt,
        *,
        settings: Mapping[str, Any],
        batch_size: int,
    ) -> Path:
        """Segment the images, write and report the results; return the path of the run's document.

        Raises:
            OutputError: a file cannot be written.
        """
        with RunWriter(
            self.output.output,
            task=prompt.task,
            categories=prompt.vocabulary.categories,
            formats=self.output.format,
            settings=settings,
            overwrite=self.output.overwrite,
            resume="interrupted" if self.output.resume else "never",
        ) as writer:
            self.resume(writer)
            if self.resumed and not self.output.quiet:
                print_note(f"resumed: {len(self.resumed)} of {len(self.images)} images are done already")
            try:
                self.write(self._predict(segmenter, prompt, batch_size=batch_size), writer)
            except KeyboardInterrupt as error:
                self.interrupted = exit_status(error)
                writer.close(interrupted=True)
        return writer.document_path

    def _predict(
        self, segmenter: Segmenter, prompt: SegmentationPrompt, *, batch_size: int
    ) -> ResultIterator:
        images = (self.image,) if self.image is not None and self.remaining else self.remaining
        if not self.output.show_rejected:
            return segmenter.predict_many(images, prompt, batch_size=batch_size, on_error="yield")
        encoded = segmenter.encode_many(images, batch_size=batch_size)
        return predict_each(encoded, prompt, on_error="yield", predict=predict_with_rejected)

    def to_dict(self) -> dict[str, Any]:
        """Return what became of the images, for --json."""
        return {
            "images": self.records,
            "failed": [
                {"file": str(source), "error": error}
                for source, error in (*self.search.failed.items(), *self.failed.items())
            ],
            "left_out": [
                {"file": str(path), "reason": reason}
                for reason, paths in self.search.left_out.items()
                for path in paths
            ],
            "interrupted": bool(self.interrupted),
        }

    def report_interruption(self, document_path: Path) -> None:
        """Print how far an interrupted run came."""
        if self.interrupted:
            print_error(
                f"interrupted; {self.done} of {len(self.images)} images are done, see {document_path}. "
                "The same command continues."
            )

    def open(self) -> None:
        """Show the overlay, or the folder of several, if requested."""
        if self.output.open and self.done:
            show_file(self.overlay if self.overlay and len(self.images) == 1 else self.output.output)

    def resume(self, writer: RunWriter) -> None:
        """Find the images that an interrupted run has written, if they have not changed since."""
        names = dict(zip(self.images, output_names(self.images), strict=True))
        done = set()
        for entry in writer.earlier:
            source = entry.get("source")
            image = Path(source["path"]) if isinstance(source, dict) and "path" in source else None
            if image not in names or entry["output"] != names[image] or source != source_facts(image):
                continue
            if (written := writer.files_of(entry)) is None:
                continue
            done.add(image)
            self.done += 1
            if self.output.json:
                self.records.append(_record(image, entry, written, writer.annotations_of(entry["id"])))
        self.resumed = frozenset(done)

    def write(self, predictions: ResultIterator, writer: RunWriter) -> None:
        """Write and report each result as it arrives, in the order of the images.

        Raises:
            OutputError: a file cannot be written.
        """
        silent = self.output.quiet or len(self.images) == 1
        names = dict(zip(self.images, output_names(self.images), strict=True))

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
            tqdm(
                total=len(self.images), initial=self.done, unit="image", disable=True if silent else None
            ) as progress,
        ):
            try:
                writer.add_all(
                    self._results(predictions, names),
                    sources={f"{name}{image.suffix}": image for image, name in names.items()},
                    on_written=on_written,
                )
            finally:
                self._report_failed()

    def _results(self, predictions: ResultIterator, names: Mapping[Path, str]) -> Iterator[AnyResult]:
        """Yield the results, named like their output files; remember which images failed."""
        for image in self.remaining:
            prediction = _next_prediction(predictions)
            self._waiting.append(image)
            if isinstance(prediction, ImageError):
                self.failed[image] = str(prediction)
            else:
                yield replace(prediction, name=f"{names[image]}{image.suffix}")
            del prediction  # or this frame would keep it in memory until the next one exists

    def _report_failed(self) -> None:
        """Report the failed images that come before the next result."""
        while self._waiting and self._waiting[0] in self.failed:
            with tqdm.external_write_mode():
                print_error(self.failed[self._waiting.popleft()])

    def _report(self, image: Path, result: AnyResult, written: Sequence[Path]) -> None:
        self.overlay = next((path for path in written if path.name.endswith(".overlay.jpg")), None)
        if not self.output.quiet:
            for note in result.notes:
                print_note(f"note: {printable(image)}: {note}")
        if self.output.json:
            height, width = result.size
            self.records.append(
                {
                    "file": str(image),
                    "width": width,
                    "height": height,
                    "written": [str(path) for path in written],
                    "notes": list(result.notes),
                    "segments": [segment.to_coco() for segment in result.segments],
                }
            )
        elif not self.output.quiet:
            print_line(result.summary())
            print_line(f"→ {', '.join(map(printable, written))}\n")


def _next_prediction(predictions: Generator[tuple[Any, AnyResult | ImageError], None, None]) -> Any:
    """Return the next prediction without its source, which is the next of the run's images."""
    return next(predictions)[1]


def run_settings(
    vocabulary: Vocabulary,
    *,
    prompt: PromptOptions,
    model: ModelOptions,
    output: OutputOptions,
    sources: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything besides the images that the results of a run depend on.

    Args:
        vocabulary: with its background classes.
        prompt: options.
        model: options.
        output: options.
        sources: output of `source_settings`.
    """
    return {
        **sources,
        "device": model.device,
        "dtype": model.dtype,
        "vocabulary": vocabulary.to_dict(),
        "task": prompt.task,
        "format": output.format,
        "trust": prompt.trust,
        "object_mask_threshold": prompt.object_mask_threshold,
        "overlap_threshold": prompt.overlap_threshold,
        "score_threshold": prompt.score_threshold,
        "show_rejected": output.show_rejected,
    }


def _record(
    image: Path, entry: Mapping[str, Any], written: Sequence[Path], annotations: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the record of an image that an earlier run has written, as `Run` makes it of a result."""
    segments = [
        segment for annotation in annotations for segment in annotation.get("segments_info", [annotation])
    ]
    hidden = {"image_id", "segmentation"}
    return {
        "file": str(image),
        "width": entry["width"],
        "height": entry["height"],
        "written": [str(path) for path in written],
        "notes": entry.get("notes", []),
        "segments": [{key: value for key, value in s.items() if key not in hidden} for s in segments],
    }
