"""`ovrcoat segment`: images and class names in; tables, id maps, overlays and one JSON document out."""

from ovrcoat._version import __version__
from ovrcoat.cli.options import ModelOptions, OutputOptions, PromptOptions
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_json, print_note
from ovrcoat.cli.usage import possible_class_names
from ovrcoat.errors import ConfigError
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Vocabulary


def segment(
    sources: list[str],
    /,
    *,
    prompt: PromptOptions = PromptOptions(),  # noqa: B008 - frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008
    output: OutputOptions = OutputOptions(),  # noqa: B008
) -> int:
    """Segment images into the classes of your vocabulary.

    Parameters
    ----------
    sources
        Images, folders ('folder/**' includes subfolders), patterns.
    """
    vocabulary = Vocabulary.read(prompt.vocabulary)
    complete = vocabulary.with_background(prompt.background)
    complete.check()  # before torch and a model are loaded; the length of names is checked later
    if output.show_rejected and prompt.task != "panoptic":
        raise ConfigError(f"--show-rejected applies to --task panoptic, not to {prompt.task}; leave it out")
    if prompt.task == "instance":
        import_optional("pycocotools.mask", extra="coco")  # fail before the work

    with heavy_imports():
        from ovrcoat.cli.run import Run, encode_prompt, load_segmenter, run_settings
        from ovrcoat.data.find_images import search_images

    run = Run(search_images(sources), output)
    run.report_search()
    if names := possible_class_names(sources):
        print_note(f'hint: class names are given with --vocabulary "{"; ".join(names)}"')
    if not output.quiet:
        name = f" of {vocabulary.name}" if vocabulary.name else ""
        print_note(f"images: {len(run.images)}, categories: {len(vocabulary)}{name}, model: {model.model}")
    segmenter = load_segmenter(model)
    encoded = encode_prompt(segmenter, complete, prompt)
    for issue in encoded.issues:
        if issue.severity != "note" or not output.quiet:
            print_note(f"{issue.severity}: {issue}")
    document_path = run.execute(
        segmenter,
        encoded,
        settings=run_settings(complete, prompt=prompt, model=model, output=output),
        batch_size=model.batch_size,
    )
    if output.json:
        print_json(
            {
                "ovrcoat": __version__,
                "model": model.model,
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
