"""How results appear in notebooks: the drawing with its legend, and a table of the segments."""

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

from ovrcoat.results.segment import Segment

MAX_SIDE = 1024  # pixels of the picture in a notebook: notebooks store it as text
MAX_ROWS = 20
COLUMNS = ("id", "category", "score", "area", "objectness", "CLIP confidence")


def to_html(title: str, drawing: Image.Image, segments: Sequence[Segment], *, note: str | None) -> str:
    """Return HTML with the drawing and a table of the first `MAX_ROWS` segments. Names are escaped."""
    picture = drawing.copy()
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    rows = "".join(f"<tr>{_cells(segment)}</tr>" for segment in segments[:MAX_ROWS])
    hidden = len(segments) - MAX_ROWS
    more = f"<p>and {hidden} more segments</p>" if hidden > 0 else ""
    noted = f"<p>{html.escape(note)}</p>" if note else ""
    return (
        f"<div><p><b>{html.escape(title)}</b></p>"
        f'<img alt="{html.escape(title, quote=True)}" src="data:image/png;base64,{data}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}{noted}</div>"
    )


def _cells(segment: Segment) -> str:
    cells = (
        str(segment.id),
        segment.category,
        f"{segment.score:.2f}",
        f"{segment.area:,}",
        f"{segment.objectness_before:.2f} → {segment.objectness:.2f}",
        f"{segment.clip_confidence:.2f}",
    )
    return "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
