"""`ovrcoat segment`: photos and words in; tables, id maps, overlays and one JSON document out."""

from ovrcoat._version import __version__
from ovrcoat.cli.options import Machine, Question, Report
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import complain, note, say_json
from ovrcoat.system.optional_imports import require
from ovrcoat.vocabulary import Vocabulary


def segment(
    sources: list[str],
    /,
    *,
    question: Question = Question(),  # noqa: B008 - frozen
    machine: Machine = Machine(),  # noqa: B008
    report: Report = Report(),  # noqa: B008
) -> int:
    """Segment photos and give every segment a name from your words.

    Parameters
    ----------
    sources
        Photos, folders (the photos in them; 'folder/**' for those below too), patterns.
    """
    vocabulary = Vocabulary.read(question.vocabulary)
    complete = vocabulary.with_background(question.background)
    complete.check()  # before torch and a model are loaded; what the text tower takes is checked later
    if question.task == "instance":
        require("pycocotools.mask", extra="coco")  # its file needs it: better said now than after the work

    with heavy_imports():
        from ovrcoat.cli.run import Run
        from ovrcoat.data.images import find_images
        from ovrcoat.results.writers import RunWriter

    run = Run(find_images(sources), report)
    if not report.quiet:
        name = f" of {vocabulary.name}" if vocabulary.name else ""
        note(f"photos: {len(run.photos)}, categories: {len(vocabulary)}{name}, model: {machine.model}")
    answers = run.answers(vocabulary, question=question, machine=machine)
    with RunWriter(
        report.output, task=question.task, categories=vocabulary.categories, overwrite=report.overwrite
    ) as writer:
        try:
            run.write(answers, writer)
        except KeyboardInterrupt:  # the writer completes what is there
            run.interrupted = True
    if report.json:
        say_json(
            {
                "ovrcoat": __version__,
                "model": machine.model,
                "task": question.task,
                "output": str(report.output),
                "vocabulary": complete.to_dict(),
                "photos": run.records,
                "failed": [{"file": str(photo), "error": error} for photo, error in run.failed.items()],
                "interrupted": run.interrupted,
            }
        )
    if run.interrupted:
        complain(f"interrupted; {run.done} of {len(run.photos)} photos are done, see {writer.document_path}")
    return run.status
