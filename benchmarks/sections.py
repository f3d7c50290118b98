"""Sections of the benchmark page; each function measures and returns Markdown."""

from collections.abc import Callable
from importlib.util import find_spec

import comparison
import merge as merging
from image_page import image
from models import is_random
from processes import own_process, run_script
from report import listing, memory, seconds, section, table
from request import Run


def text(run: Run) -> str:
    """Measure text embeddings: cold, warm, tokens and differences."""
    if not is_random(run.model):
        return section("Text embeddings", f"Measured for CLIP's text tower only, not for {run.model}.")
    rows, tokens = [], []
    for vocabulary in ("ade20k", "lvis"):
        for dtype in run.dtypes:
            subject = {"model": run.checkpoint, "vocabulary": vocabulary, "dtype": dtype}
            cache = str(run.folder / f"text-{vocabulary}-{dtype}")
            cold, warm = (own_process("text.embed", **subject, cache=cache) for _ in range(2))
            plain = own_process("text.compare", **subject)
            plainly = plain["seconds"] / plain["texts"] * cold["texts"]
            rows.append(
                (
                    vocabulary,
                    dtype,
                    seconds(cold["seconds"]),
                    memory(cold["memory"]),
                    seconds(warm["seconds"]),
                    f"{plain['difference']:.1e}",
                    f"{plainly:.0f} s",
                )
            )
        tokens.append(
            [vocabulary, *(f"{cold[key]:,}" for key in ("names", "texts", "padded", "cut", "computed"))]
        )
    return section(
        "Text embeddings",
        "“Cold” starts with an empty cache; “warm” is a new process that reads the embeddings from disk. "
        "Neither includes the time to load the model. “Reference” is the time of the released method (77 "
        "tokens per prompt, float32), extrapolated from a sample of its prompts. “Difference” is the "
        "largest absolute difference of any entry of the sample's normalized embeddings to those of the "
        "released method.",
        table(["vocabulary", "dtype", "cold", "memory", "warm", "difference", "reference"], rows),
        table(
            ["vocabulary", "names", "prompts", "tokens, padded", "tokens, unpadded", "tokens, computed"],
            tokens,
        ),
    )


def merge(run: Run) -> str:
    """Measure the panoptic merge alone."""
    rows = []
    for megapixels, output in merging.OUTPUTS.items():
        for queries, scattered in ((250, False), (100, False), (250, True)):
            options = {"output": output, "queries": queries, "scattered": scattered}
            found = own_process("merge.measure", **options, repeats=run.repeats)
            times = seconds(found["best"]), seconds(found["median"])
            what = f"{megapixels} megapixels" + (", scattered masks" if scattered else "")
            rows.append([what, queries, *times, memory(found["memory"]), found["segments"]])
    return section(
        "Panoptic merge",
        f"The masks are synthetic; {merging.KEPT} of them are not void. Memory is the maximum that a merge "
        "adds.",
        table(["output", "queries", "best", "median", "memory", "segments"], rows),
    )


def scoring(run: Run) -> str:
    """Measure `ovrcoat score`."""
    images = "1000" if run.full else "200"
    return section("Scoring", listing(run_script("scoring.py", "--images", images, "--repeats", "3")))


def training(run: Run) -> str:
    """Measure a training step of nano; calculate the large network, and measure it with `--full`."""
    found = [listing(run_script("ovr_cost.py", "--steps", "3"))]
    if is_random(run.model):
        script = ("training_memory.py", "--encoder", run.model)
        found.append(listing(run_script(*script, "--no-measurement")))
        for stage in "12" if run.full else "":
            how = ("--size", "1024", "--stage", stage, "--checkpoint", "--no-table")
            found.append(listing(run_script(*script, *how)))
    return section("Training step", *found)


def nano(run: Run) -> str:
    """Measure throughput and the whole process of the command."""
    rows = []
    for dtype in run.dtypes:
        found = own_process("nano.throughput", size=(640, 480), dtype=dtype, repeats=3 * run.repeats)
        speed = [f"{1 / found[kind]:.1f}" for kind in ("best", "median")]
        rows.append([dtype, *speed, memory(found["peak"])])
    start = own_process("nano.start", pairs=run.repeats)
    return section(
        "nano",
        "Throughput in images per second, for images of 640 × 480 and 20 class names with cached text "
        "embeddings.",
        table(["dtype", "best", "median", "peak memory"], rows),
        f"`ovrcoat segment --dtype auto` takes {seconds(start['segment'])} for such an image, as a whole "
        f"process. `import torch` alone takes {seconds(start['torch'])}. The difference is "
        f"{seconds(start['gap'])}. All three are medians of {run.repeats} runs.",
    )


def images(run: Run) -> str:
    """Measure many images: overlap, and memory over up to ten thousand of them."""
    overlap = run_script("many_images.py", "--images", "100")
    count = "10000" if run.full else "1000"
    flat = run_script("many_images.py", "--images", count, "--short-side", "64", "--variant", "overlapping")
    return section(
        "Many images, nano",
        "From JPEG files to id maps, overlays and JSON, with dtype auto: one step at a time, and with "
        "overlapping steps.",
        listing(overlap),
        f"Memory over {int(count):,} images, which are small and have fifty sizes, to keep the run short:",
        listing(flat),
    )


def dtype(run: Run) -> str:
    """Measure the effect of bfloat16 on the results of nano, with labeled images."""
    if run.data is None:
        return section(
            "Effect of bfloat16 on the results of nano",
            "Not measured: no labeled images were given (`--data`).",
        )
    return section(
        "Effect of bfloat16 on the results of nano", listing(run_script("dtype_effect.py", str(run.data)))
    )


def hf(run: Run) -> str:
    """Compare with Hugging Face transformers."""
    if find_spec("transformers") is None:
        return section("Hugging Face transformers", "Not installed (extra `bench`).")
    return comparison.compare(run)


SECTIONS: dict[str, Callable[[Run], str]] = {
    "image": image,
    "text": text,
    "merge": merge,
    "scoring": scoring,
    "training": training,
    "nano": nano,
    "images": images,
    "dtype": dtype,
    "hf": hf,
}
