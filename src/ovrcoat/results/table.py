"""Segments as a plain-text table, for terminals and notebooks."""

from collections.abc import Sequence

from ovrcoat.results.background import BackgroundShare, background_note
from ovrcoat.results.segment import Segment
from ovrcoat.structures import Size
from ovrcoat.system.paths import printable
from ovrcoat.system.visible_text import visible, visible_lines
from ovrcoat.vocabulary import Category

HEADINGS = ("id", "category", "kind", "score", "area", "objectness", "confidence")
LEFT_ALIGNED = ("category", "kind")
GUESS_NOTE = (
    "? It is not specified whether this is a thing or stuff; thing is assumed. "
    "Write name#thing or name#stuff."
)


def segment_table(
    segments: Sequence[Segment],
    categories: Sequence[Category],
    *,
    name: str | None,
    size: Size,
    background: Sequence[BackgroundShare] = (),
) -> str:
    """Return one line per segment: id, category, kind, score, area, objectness before → after COAT."""
    height, width = size
    guessed = {category.id for category in categories if category.thing_from == "default"}
    rows = [HEADINGS]
    for segment in segments:
        kind = ("thing" if segment.is_thing else "stuff") + ("?" if segment.category_id in guessed else "")
        rows.append(
            (
                str(segment.id),
                visible(segment.category),
                kind,
                f"{segment.score:.2f}",
                f"{100 * segment.area / (height * width):.1f} %",
                f"{segment.objectness_before:.2f} → {segment.objectness:.2f}",
                f"{segment.clip_confidence:.2f}",
            )
        )
    count = f"{len(segments)} segment" + ("" if len(segments) == 1 else "s")
    lines = [f"{printable(name or 'image')}: {width} × {height} pixels, {count}"]
    if segments:
        lines += _aligned(rows)
    if any(segment.category_id in guessed for segment in segments):
        lines.append(GUESS_NOTE)
    if (note := background_note(background, has_segments=bool(segments))) is not None:
        lines.append(visible_lines(note))
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if heading in LEFT_ALIGNED else cell.rjust(width)
            for heading, cell, width in zip(HEADINGS, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
