"""Load the segmenter that options describe: one model, or masks of one source and names of another."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovrcoat.checkpoints.catalog import find_mask_source, find_names
from ovrcoat.checkpoints.encoder_file import EncoderFile
from ovrcoat.cli.options import ModelOptions, SourceOptions
from ovrcoat.results.writers import source_facts
from ovrcoat.segmentation.segmenter import Segmenter

if TYPE_CHECKING:
    from ovrcoat.cli.evaluate_options import ModelOptions as EvaluatedModelOptions


def load_segmenter(
    model: "ModelOptions | EvaluatedModelOptions", sources: SourceOptions, *, images: Sequence[Path] = ()
) -> Segmenter:
    """Load the model and the source of masks that the options name.

    Args:
        model: the model, by default of masks and names.
        sources: masks and names of other sources.
        images: the images to segment, to check that no two would get the same masks of a file.

    Raises:
        OvrcoatError: a model, a source of masks or a setting cannot be used.
    """
    names, masks = sources.resolve(model.model)
    segmenter = Segmenter.load(
        names, masks=masks, device=model.device, dtype=model.dtype, compile=model.compile
    )
    if segmenter.mask_files is not None:
        segmenter.mask_files.check_names(images)
    return segmenter.with_settings(classify_by=sources.classify_by)


def source_settings(model: str, sources: SourceOptions, segmenter: Segmenter) -> dict[str, Any]:
    """Return what identifies the models and masks that the results of a run depend on."""
    names, masks = sources.resolve(model)
    found, files = find_names(names), segmenter.mask_files
    return {
        "model": {"encoder": found.name, **source_facts(found.path)}
        if isinstance(found, EncoderFile)
        else source_facts(found),
        "masks": None if masks is None else source_facts(find_mask_source(masks)),
        "mask_files": None if files is None else files.fingerprint(),
        "classify_by": sources.classify_by,
    }
