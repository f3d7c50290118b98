"""Time and peak memory of the published architecture on one photo, with random weights.

    python benchmarks/full_size.py [--encoder convnext_large_d_320] [--size 1200 800] [--words "cat; wall"]

Random weights compute exactly what trained ones would; only the result means nothing.
"""

import argparse
import platform
import resource
import time

import numpy as np
import torch

from ovrcoat import Segmenter, Vocabulary
from ovrcoat.config import ModelConfig
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import build_network


def main() -> None:
    """Build, encode, ask twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--encoder", default="convnext_large_d_320", choices=sorted(CLIP_ENCODERS))
    parser.add_argument("--size", nargs=2, type=int, default=(1200, 800), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument(
        "--words", default="cat; dog; person; sofa; wall#stuff; floor#stuff; tree; sky; car; road"
    )
    arguments = parser.parse_args()
    width, height = arguments.size
    photo = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)

    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    torch.manual_seed(0)
    config = ModelConfig(encoder=CLIP_ENCODERS[arguments.encoder])
    started = time.perf_counter()
    segmenter = Segmenter(
        build_network(config),
        config=config,
        training_vocabulary=Vocabulary.named("coco"),
        provenance={},
        device="cpu",
    )
    report("network built", started)
    started = time.perf_counter()
    encoded = segmenter.encode(photo)
    report(f"photo of {width}x{height} encoded", started)
    for attempt in ("first question (words embedded)", "second question (words known)"):
        started = time.perf_counter()
        result = encoded.segment(arguments.words, background="none")
        report(attempt, started)
    print(f"{len(result.segments)} segments")


def report(what: str, started: float) -> None:
    """One line: what, seconds, and the largest resident memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    print(f"{what:40s} {time.perf_counter() - started:7.1f} s   peak {peak:5.2f} GiB")


if __name__ == "__main__":
    main()
