"""`ovrcoat segment`: images and words in; tables, id maps, overlays and one JSON document out."""

from ovrcoat._version import __version__
from ovrcoat.cli.options import Machine, Report, SegmentationPrompt
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_error, print_json, print_note
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Vocabulary


def segment(
    sources: list[str],
    /,
    *,
    prompt: SegmentationPrompt = SegmentationPrompt(),  # noqa: B008 - frozen
    machine: Machine = Machine(),  # noqa: B008
    report: Report = Report(),  # noqa: B008
) -> int:
    """Segment images and give every segment a name from your words.

    Parameters
    ----------
    sources
        Images, folders (the images in them; 'folder/**' for those below too), patterns.
    """
    vocabulary = Vocabulary.read(prompt.vocabulary)
    complete = vocabulary.with_background(prompt.background)
    complete.check()  # before torch and a model are loaded; what the text tower takes is checked later
    if prompt.task == "instance":
        import_optional(
            "pycocotools.mask", extra="coco"
        )  # its file needs it: better said now than after the work

    with heavy_imports():
        from ovrcoat.cli.run import Run
        from ovrcoat.data.images import find_images
        from ovrcoat.results.writers import RunWriter

    run = Run(find_images(sources), report)
    if not report.quiet:
        name = f" of {vocabulary.name}" if vocabulary.name else ""
        print_note(f"images: {len(run.images)}, categories: {len(vocabulary)}{name}, model: {machine.model}")
    answers = run.answers(vocabulary, prompt=prompt, machine=machine)
    with RunWriter(
        report.output, task=prompt.task, categories=vocabulary.categories, overwrite=report.overwrite
    ) as writer:
        try:
            run.write(answers, writer)
        except KeyboardInterrupt:  # the writer completes what is there
            run.interrupted = True
    if report.json:
        print_json(
            {
                "ovrcoat": __version__,
                "model": machine.model,
                "task": prompt.task,
                "output": str(report.output),
                "vocabulary": complete.to_dict(),
                "images": run.records,
                "failed": [{"file": str(image), "error": error} for image, error in run.failed.items()],
                "interrupted": run.interrupted,
            }
        )
    if run.interrupted:
        print_error(
            f"interrupted; {run.done} of {len(run.images)} images are done, see {writer.document_path}"
        )
    return run.status
