"""Section of the benchmark page: comparison with Mask2Former in Hugging Face transformers."""

from importlib.metadata import version

import numpy as np
from hugging_face import FRAME, KEPT
from models import is_random
from parts import PARTS
from processes import own_process
from report import memory, seconds, section, table
from request import Run

OUTPUTS = ((427, 640), (800, 1199), (3000, 4000))  # height and width
NETWORK_PARTS = ("encoder", "pixel_decoder", "mask_decoder")


def compare(run: Run) -> str:
    """Return the section: time and memory of network and post-processing, measured in turns."""
    found = [
        f"This section compares with transformers {version('transformers')}, built from a configuration "
        "with random weights. Both merges get the same masks, class logits and thresholds. “Equal pixels” "
        "is the share of pixels with the same category in both maps. transformers resizes all masks to "
        "384 × 384 first; where several of its segments share an id, the last one is used. “Shared ids” "
        "counts the segments whose id another segment has too. Ratios are transformers divided by "
        "ovrcoat."
    ]
    if is_random(run.model):
        found.append(_networks(run))
    return section("Comparison with Mask2Former in Hugging Face transformers", *found, _merges(run))


def _networks(run: Run) -> str:
    """Return the table of the networks, which have equal widths and depths, for one input."""
    settings = {"size": FRAME, "repeats": run.repeats}
    theirs = own_process("hugging_face.their_network", model=run.model, **settings)
    ours = own_process("hugging_face.our_network", model=run.checkpoint, **settings)
    pairs = [(PARTS[part], seconds, theirs["parts"][part], ours["parts"][part]) for part in NETWORK_PARTS]
    pairs.append(("forward pass, best", seconds, theirs["best"], ours["best"]))
    pairs.append(("additional memory", memory, theirs["memory"], ours["memory"]))
    rows = [(what, form(one), form(other), _ratio(one, other)) for what, form, one, other in pairs]
    head = [f"network, float32, {FRAME[1]} × {FRAME[0]}", "transformers", "ovrcoat", "ratio"]
    return table(head, rows)


def _merges(run: Run) -> str:
    """Return the table of post-processing for three output sizes."""
    rows = []
    for output, scattered in (*((output, False) for output in OUTPUTS), (OUTPUTS[0], True)):
        options = {"output": output, "scattered": scattered, "repeats": run.repeats}
        theirs, ours = (own_process(f"hugging_face.{whose}_merge", **options) for whose in ("their", "our"))
        equal = np.mean(np.equal(theirs.pop("categories"), ours.pop("categories")))
        rows.append(
            (
                f"{output[1]} × {output[0]}" + (", scattered masks" if scattered else ""),
                *(seconds(one["best"]) for one in (theirs, ours)),
                _ratio(theirs["best"], ours["best"]),
                *(memory(one["memory"]) for one in (theirs, ours)),
                _ratio(theirs["memory"], ours["memory"]),
                f"{theirs['segments']}, {ours['segments']}",
                f"{theirs['collisions']}, {ours['collisions']}",
                f"{100 * equal:.1f} %",
            )
        )
    head = [f"post-processing, 250 queries, {KEPT} kept", "transformers", "ovrcoat", "ratio"]
    head += ["memory: transformers", "ovrcoat", "ratio"]
    return table([*head, "segments", "shared ids", "equal pixels"], rows)


def _ratio(theirs: float, ours: float) -> str:
    return f"{theirs / max(ours, 1e-9):.1f}"
