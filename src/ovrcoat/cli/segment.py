"""`ovrcoat segment`: images and class names in; tables, id maps, overlays and one JSON document out."""

from typing import TYPE_CHECKING

from ovrcoat._version import __version__
from ovrcoat.cli.options import ModelOptions, OutputOptions, PromptOptions, SourceOptions
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_error, print_issues, print_json, print_note
from ovrcoat.cli.usage import possible_class_names
from ovrcoat.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from ovrcoat.data.find_images import ImageSearch
    from ovrcoat.data.images import LoadedImage
    from ovrcoat.vocabulary import Vocabulary


def segment(
    sources: list[str],
    /,
    *,
    prompt: PromptOptions = PromptOptions(),  # noqa: B008 - frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008
    parts: SourceOptions = SourceOptions(),  # noqa: B008
    output: OutputOptions = OutputOptions(),  # noqa: B008
) -> int:
    """Segment images into the classes of your vocabulary.

    Parameters
    ----------
    sources
        Images, folders ('folder/**' includes subfolders), patterns.
    """
    from ovrcoat.vocabulary import Vocabulary  # not needed for a usage error

    vocabulary = Vocabulary.read(prompt.vocabulary)
    complete = vocabulary.with_background(prompt.background)
    complete.check()  # this and the search come before torch is loaded, so that mistakes are reported at once
    if output.show_rejected and prompt.task != "panoptic":
        raise ConfigError(f"--show-rejected applies to --task panoptic, not to {prompt.task}; leave it out")
    search = _find_images(sources, quiet=output.quiet)
    image = None
    if not output.json:  # there, an image that cannot be read is an entry of the document
        image, errors = _read_first(search)
        if errors:
            print_error("\n".join(errors))
            return 1
    with heavy_imports():
        from ovrcoat.cli.run import Run, encode_prompt, run_settings
        from ovrcoat.cli.segmenters import load_segmenter, source_settings
        from ovrcoat.results.exports.table import choose_formats

    choose_formats(output.format, task=prompt.task, categories=complete.categories)  # fail before the work
    run = Run(search, output, image=image)
    if not output.quiet:
        print_note(_summary(len(run.images), vocabulary, source=parts.describe(model.model)))
    segmenter = load_segmenter(model, parts, images=run.images)
    encoded = encode_prompt(segmenter, complete, prompt)
    print_issues(encoded.issues, quiet=output.quiet)
    used = source_settings(model.model, parts, segmenter)
    settings = run_settings(complete, prompt=prompt, model=model, output=output, sources=used)
    document_path = run.execute(segmenter, encoded, settings=settings, batch_size=model.batch_size)
    if output.json:
        print_json(
            {
                "ovrcoat": __version__,
                "model": parts.describe(model.model),
                "task": prompt.task,
                "output": str(output.output),
                "vocabulary": complete.to_dict(),
                "issues": [issue.to_dict() for issue in encoded.issues],
                **run.to_dict(),
            }
        )
    run.report_interruption(document_path)
    run.open()
    return run.status


def _summary(image_count: int, vocabulary: "Vocabulary", *, source: str) -> str:
    """Return what is segmented, on one line."""
    name = f" of {vocabulary.name}" if vocabulary.name else ""
    return f"images: {image_count}, categories: {len(vocabulary)}{name}, model: {source}"


def _find_images(sources: list[str], *, quiet: bool) -> "ImageSearch":
    """Find the images, and print the sources that failed and what was left out.

    Raises:
        ImageError: no source has an image.
    """
    from ovrcoat.data.find_images import search_images

    search = search_images(sources)
    if not search.images:
        raise ImageError("\n".join(search.failed.values()))
    for error in search.failed.values():
        print_error(error)
    if search.left_out and not quiet:
        print_note(f"note: {search.summary()}")
    if names := possible_class_names(sources):
        print_note(f'hint: class names are given with --vocabulary "{"; ".join(names)}"')
    return search


def _read_first(search: "ImageSearch") -> "tuple[LoadedImage | None, list[str]]":
    """Read the image if there is only one, and return the errors if no image can be read.

    This comes before torch is loaded, so that damaged files are reported at once.
    """
    from ovrcoat.data.images import is_image_file, read_image

    single = len(search.images) == 1
    if not single and any(map(is_image_file, search.images)):  # one that can be opened is enough to start
        return None, []
    errors = []
    for path in search.images:
        try:
            image = read_image(path)
        except ImageError as error:
            errors.append(str(error))
        else:  # perhaps its head is damaged, but its pixels are complete
            return image if single else None, []
    return None, errors
