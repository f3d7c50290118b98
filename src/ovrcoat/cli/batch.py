"""`ovrcoat batch`: many images to Parquet files, in parts that survive any interruption."""

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ovrcoat._version import __version__
from ovrcoat.choices import Task
from ovrcoat.cli.batch_options import BatchOutputOptions, WorkOptions
from ovrcoat.cli.options import ModelOptions, PromptOptions, SourceOptions
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_error, print_issues, print_json, print_note
from ovrcoat.errors import ConfigError
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.shard import Shard
from ovrcoat.system.signals import exit_status
from ovrcoat.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ovrcoat.batch.destination import Counts
    from ovrcoat.batch.item import Item
    from ovrcoat.batch.settings import BatchSettings, RowPredictor


def batch(
    sources: list[str],
    /,
    *,
    prompt: PromptOptions = PromptOptions(),  # noqa: B008 - frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008
    parts: SourceOptions = SourceOptions(),  # noqa: B008
    work: WorkOptions = WorkOptions(),  # noqa: B008
    output: BatchOutputOptions,
) -> int:
    """Segment many images into Parquet files; if it was interrupted, repeat the command to continue.

    Parameters
    ----------
    sources
        Images, folders, patterns; lists (.txt, .jsonl, .parquet); WebDataset shards (.tar); URLs of these.
    """
    shard = _check_options(work, output)
    _check_columns(prompt.task, output)
    complete = Vocabulary.read(prompt.vocabulary).with_background(prompt.background)
    complete.check()  # this and the list of images come before torch is loaded
    import_optional("pyarrow", extra="batch")
    import_optional("pycocotools.mask", extra="batch")

    from ovrcoat.batch.sources import list_items

    items = list_items(sources)
    if not output.quiet:
        source = parts.describe(model.model)
        print_note(f"images: {len(items)}, categories: {len(complete.categories)}, model: {source}")
    with heavy_imports():
        from ovrcoat.batch.settings import RowPredictor

    settings = _settings(complete, prompt=prompt, model=model, parts=parts, output=output)
    predictor = RowPredictor(settings)
    predictor.check_items(items)
    print_issues(predictor.prompt.issues, quiet=output.quiet)
    try:
        run = _run_ray if work.engine == "ray" else _run_local
        read, counts = run(items, settings, predictor, shard=shard, work=work, output=output)
    except KeyboardInterrupt as error:
        print_error(
            f"interrupted; finished parts are kept in {output.output}: repeat the command to continue"
        )
        return exit_status(error)
    return _report(read, counts, shard=shard, output=output)


def _settings(
    vocabulary: Vocabulary,
    *,
    prompt: PromptOptions,
    model: ModelOptions,
    parts: SourceOptions,
    output: BatchOutputOptions,
) -> "BatchSettings":
    """Return the settings that the options describe."""
    from ovrcoat.batch.settings import BatchSettings

    names, masks = parts.resolve(model.model)
    return BatchSettings(
        vocabulary=vocabulary,
        model=names,
        masks=masks,
        classify_by=parts.classify_by,
        device=model.device,
        dtype=model.dtype,
        compile=model.compile,
        task=prompt.task,
        trust=prompt.trust,
        object_mask_threshold=prompt.object_mask_threshold,
        overlap_threshold=prompt.overlap_threshold,
        score_threshold=prompt.score_threshold,
        batch_size=model.batch_size,
        embeddings=output.embeddings,
        png=output.png,
    )


def _check_options(work: WorkOptions, output: BatchOutputOptions) -> Shard:
    """Check the options of the engine; return the shard.

    Raises:
        ConfigError: an option is out of range or belongs to the other engine.
    """
    if work.workers is not None and work.workers < 1:
        raise ConfigError(f"--workers is {work.workers}, expected 1 or more")
    if output.images_per_file < 1:
        raise ConfigError(f"--images-per-file is {output.images_per_file}, expected 1 or more")
    shard = Shard.parse(work.shard)
    if work.engine == "ray":
        if shard.count > 1:
            raise ConfigError("--shard belongs to --engine local; Ray divides the images itself")
        import_optional("ray.data", extra="ray")
    elif work.ray_address is not None or work.gpus_per_worker is not None:
        raise ConfigError("--ray-address and --gpus-per-worker belong to --engine ray; add it")
    return shard


def _check_columns(task: Task, output: BatchOutputOptions) -> None:
    """Check that the results of the task have the requested columns.

    Raises:
        ConfigError: they have not.
    """
    if output.embeddings and task == "semantic":
        raise ConfigError(
            "--embeddings needs segments with a mask of their own; use --task panoptic or instance"
        )
    if output.png and task != "panoptic":
        raise ConfigError(f"--png applies to --task panoptic, not to {task}; leave it out")


def _run_local(
    items: "list[Item]",
    settings: "BatchSettings",
    predictor: "RowPredictor",
    *,
    shard: Shard,
    work: WorkOptions,
    output: BatchOutputOptions,
) -> "tuple[int, Counts]":
    """Run the local engine; return the number of images of the shard, and their rows."""
    import torch

    from ovrcoat.batch.destination import Destination
    from ovrcoat.batch.local import Parts, run_local

    parts = Parts(items, output.images_per_file)
    destination = Destination(output.output)
    facts = {"engine": "local", **predictor.facts(), "images_per_file": output.images_per_file}
    destination.open(facts, items, resume=output.resume)
    uses_cuda = settings.device in (None, "cuda")
    workers = work.workers or max(1, torch.cuda.device_count() if uses_cuda else 0)
    read = sum(len(parts[part]) for part in shard.select(range(len(parts))))
    with tqdm(total=read, unit="image", disable=True if output.quiet else None) as progress:
        counts = run_local(
            parts,
            destination,
            settings=settings,
            predictor=predictor,
            shard=shard,
            workers=workers,
            on_part=progress.update,
        )
    return read, counts


def _run_ray(
    items: "list[Item]",
    settings: "BatchSettings",
    predictor: "RowPredictor",
    *,
    shard: Shard,
    work: WorkOptions,
    output: BatchOutputOptions,
) -> "tuple[int, Counts]":
    """Run the Ray engine; return the number of images and their rows. It has one shard."""
    from ovrcoat.batch.destination import Destination
    from ovrcoat.batch.local import Parts
    from ovrcoat.batch.ray_engine import RayOptions, run_ray

    destination = Destination(output.output)
    facts = {"engine": "ray", **predictor.facts(), "images_per_file": output.images_per_file}
    destination.open(facts, items, resume=output.resume)
    options = RayOptions(
        address=work.ray_address,
        workers=work.workers,
        gpus=work.gpus_per_worker,
        progress=not output.quiet,
    )
    parts = Parts(items, output.images_per_file)
    return len(items), run_ray(parts, destination, settings=settings, options=options)


def _report(read: int, counts: "Counts", *, shard: Shard, output: BatchOutputOptions) -> int:
    """Print the counts; return the exit status, 1 if images are in quarantine."""
    document: dict[str, Any] = {
        "ovrcoat": __version__,
        "output": str(output.output),
        "shard": str(shard),
        "read": read,
        "written": counts.images,
        "quarantined": counts.quarantined,
    }
    if output.json:
        print_json(document)
    if counts.quarantined:
        print_error(f"{counts.quarantined} images cannot be read: see {output.output / 'quarantine'}")
    if not output.quiet:
        print_note(
            f"read {read} = written {counts.images} + quarantined {counts.quarantined} → {output.output}"
        )
    return int(counts.quarantined > 0)
