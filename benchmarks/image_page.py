"""Section of the benchmark page: one image."""

from typing import Any

from models import is_random
from parts import PARTS
from processes import own_process
from report import memory, operations, rate, seconds, section, table
from request import Run


def image(run: Run) -> str:
    """Return the section: time per part, ratio to the limit, and memory."""
    subject = {"model": run.checkpoint, "size": run.size, "few_masks": is_random(run.model)}
    counted = own_process("image.count", **subject)
    found = {dtype: _image(run, dtype, subject=subject) for dtype in run.dtypes}
    one = next(iter(found.values()))
    (height, width), (padded_height, padded_width) = one["image"], one["input"]
    head = ["part", "operations"]
    for name in found:
        head += [name, "× limit"]
    rows = [
        [title, operations(counted["parts"][part]), *_times(found, part, counted["parts"][part])]
        for part, title in PARTS.items()
    ]
    rows.append(["**whole path**", operations(counted["total"]), *_times(found, "best", counted["total"])])
    rows.append(["whole path, median", "", *_times(found, "median", counted["total"])])
    unknown = ", ".join(f"{operations(count)} of {name}" for name, count in counted["unknown"].items())
    return section(
        f"Panoptic segmentation of one image: {run.model}",
        f"The input is an image of {width} × {height} pixels, given as an array. After resizing and "
        f"padding, the network input is {padded_width} × {padded_height}. The vocabulary has 20 class "
        f"names with cached text embeddings. Times are the best of {run.repeats} runs. “× limit” is the "
        "time divided by the time of the counted operations at the matrix-product rate measured just "
        "before and after.",
        table(head, rows),
        f"Not counted as operations: {unknown or 'no multiply-adds'}, and all element-wise operations.",
        _image_memory(found),
    )


def _image(run: Run, dtype: str, *, subject: dict[str, Any]) -> dict[str, Any]:
    settings = subject | {"dtype": dtype, "repeats": run.repeats}
    return run.rate.around(lambda: own_process("image.measure", **settings), dtype)


def _times(found: dict[str, Any], part: str, count: float) -> list[str]:
    """Return time and ratio of a part for every dtype; the ratio is empty for few operations."""
    cells = []
    for figures in found.values():
        taken = figures[part] if part in figures else figures["parts"][part]
        limit = count / figures["rate"]
        cells += [seconds(taken), f"{taken / limit:.2f}" if limit > taken / 100 else ""]
    return cells


def _image_memory(found: dict[str, Any]) -> str:
    rows = [
        [
            "libraries only",
            *(memory(one["memory"]["libraries"]) for one in found.values()),
        ],
        ["libraries and model", *(memory(one["memory"]["loaded"]) for one in found.values())],
        ["of which file-backed pages", *(memory(one["memory"]["files"]) for one in found.values())],
        ["peak while loading", *(memory(one["memory"]["loading"]) for one in found.values())],
        ["maximum added by one image", *(memory(one["memory"]["extra"]) for one in found.values())],
        ["**peak of the process**", *(memory(one["memory"]["peak"]) for one in found.values())],
        ["loading time", *(seconds(one["loading"]) for one in found.values())],
        ["matrix-product rate", *(rate(one["rate"]) for one in found.values())],
    ]
    return table(["memory", *found], rows)
