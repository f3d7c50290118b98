"""`ovrcoat explain`: why each mask is a segment or was rejected, as a table, JSON and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ovrcoat._version import __version__
from ovrcoat.cli.options import ModelOptions, PromptOptions, SourceOptions
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_issues, print_json, print_line, print_note, print_table
from ovrcoat.cli.viewer import show_file
from ovrcoat.errors import ConfigError
from ovrcoat.system.paths import printable
from ovrcoat.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ovrcoat.postprocessing.explained_masks import CategoryChoice, ExplainedMask
    from ovrcoat.segmentation.explanation import Explanation, PixelExplanation

COLUMNS = ("query", "learned", "CLIP", "both", "objectness", "confidence", "score", "mask area")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationOptions:
    """Output."""

    point: str | None = None
    """Explain one pixel, x,y from the top left: what is shown there, and which masks include it."""

    limit: Annotated[int, Parameter(validator=Number(gte=0))] = 12
    """Maximum number of rejected masks in the table and in the picture."""

    output: Path | None = None
    """Write a picture of rescued segments and rejected masks to this .jpg or .png file."""

    overwrite: Annotated[bool, Parameter(negative="")] = False
    """Replace that file even if ovrcoat did not write it."""

    open: Annotated[bool, Parameter(negative="")] = False
    """Show the picture in the system's image viewer; needs --output."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print one JSON document with all masks to stdout instead of a table."""


def explain(
    image: Path,
    /,
    *,
    prompt: PromptOptions = PromptOptions(),  # noqa: B008 - frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008
    parts: SourceOptions = SourceOptions(),  # noqa: B008
    output: ExplanationOptions = ExplanationOptions(),
) -> int:
    """Explain for one image why each mask of the model is a segment or was rejected.

    Parameters
    ----------
    image
        The image.
    """
    if prompt.task != "panoptic":
        raise ConfigError(f"explanations exist for --task panoptic, not for {prompt.task}")
    if output.open and output.output is None:
        raise ConfigError("--open shows the picture that --output writes; add --output explanation.jpg")
    point = None if output.point is None else _parse_point(output.point)
    complete = Vocabulary.read(prompt.vocabulary).with_background(prompt.background)
    complete.check()  # before torch and a model are loaded

    with heavy_imports():
        from ovrcoat.cli.run import encode_prompt
        from ovrcoat.cli.segmenters import load_segmenter
        from ovrcoat.results.writers import write_drawing

    segmenter = load_segmenter(model, parts)
    encoded = encode_prompt(segmenter, complete, prompt)
    print_issues(encoded.issues)
    explanation = segmenter.encode(image).predict_explained(encoded)
    for note in explanation.result.notes:
        print_note(f"note: {note}")
    pixel = None if point is None else explanation.at(*point)
    if output.json:
        document = {"ovrcoat": __version__, "model": parts.describe(model.model), **explanation.to_dict()}
        print_json(document if pixel is None else document | {"point": pixel.to_dict()})
    elif pixel is not None:
        _print_pixel(pixel)
    else:
        _print_masks(explanation, limit=output.limit)
    if output.output is not None:
        write_drawing(output.output, explanation.draw(limit=output.limit), overwrite=output.overwrite)
        print_note(f"→ {printable(output.output)}")
        if output.open:
            show_file(output.output)
    return 0


def _parse_point(text: str) -> tuple[int, int]:
    try:
        x, y = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--point {text!r} is not valid; expected two whole numbers x,y such as 320,240"
        ) from error
    return x, y


def _print_pixel(pixel: "PixelExplanation") -> None:
    """Print what is shown at a pixel, and the masks that include it."""
    print_line(f"pixel {pixel.x},{pixel.y}: {pixel.summary}")
    if pixel.masks:
        print_table(
            ("query", "category", "score", "probability here", "why it is shown or not"),
            [
                (
                    str(one.mask.query),
                    one.mask.category or "",
                    f"{one.mask.score:.2f}",
                    f"{one.probability:.2f}",
                    one.reason,
                )
                for one in pixel.masks
            ],
        )


def _print_masks(explanation: "Explanation", *, limit: int) -> None:
    """Print a table of the segments' masks, and one of the best rejected masks."""
    from ovrcoat.postprocessing.mask_status import MaskStatus

    not_listed = (MaskStatus.DUPLICATE, MaskStatus.EMPTY)
    result = explanation.result
    height, width = result.size
    print_line(f"{result.name}, {width} × {height} pixels, {explanation.summary(limit=0)}")
    pixels = explanation.result.id_map.size
    accepted = [mask for mask in explanation.masks if mask.segment_id is not None]
    listed = [mask for mask in explanation.rejected if mask.status not in not_listed]
    shown = listed[:limit]
    title_of_rejected = f"rejected masks: {len(shown)} of {len(listed)}, without duplicates and empty masks"
    for title, masks in (("segments", accepted), (title_of_rejected, shown)):
        if masks:
            print_line(f"\n{title}")
            print_table((*COLUMNS, "reason"), [_row(mask, explanation, pixels=pixels) for mask in masks])


def _row(mask: "ExplainedMask", explanation: "Explanation", *, pixels: int) -> Sequence[str]:
    return (
        str(mask.query),
        *(_choice(choice) for choice in (mask.in_vocab, mask.out_vocab, mask.ensemble)),
        f"{mask.objectness_before:.2f} → {mask.objectness:.2f}",
        f"{mask.clip_confidence:.2f}",
        f"{mask.score:.2f}",
        f"{100 * mask.area / pixels:.1f} %",
        explanation.reason(mask),
    )


def _choice(choice: "CategoryChoice") -> str:
    background = " (background)" if choice.is_background else ""
    return f"{choice.category}{background} {choice.probability:.2f}"
