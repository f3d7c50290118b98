"""Measure COAT on masks that come from files, against the same masks from the network.

    python benchmarks/coat.py DATA [--model nano] [--held-out 0.1] [--limit 50] [--threads 1]

DATA is a folder of labeled images (docs/datasets.md) with panoptic ground truth. The model's own masks are
written to NPZ files and read as masks of another tool would be. CLIP alone names them. Each row has PQ
without background classes at each γ:

* network: the model's masks and names
* files: its masks in files, with their objectness
* files, objectness 1: the same with objectness 1, as for a tool that does not predict it
"""

import tempfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from crops import TRUSTS, dataset_parser
from machine import describe
from models import load

from ovrcoat import Segmenter
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationPlan, EvaluationSettings, make_plan
from ovrcoat.postprocessing.upsampling import binary_mask

ROWS = MappingProxyType({"network": None, "files": True, "files, objectness 1": False})


def main() -> None:
    """Measure every source of masks and print a table."""
    arguments = dataset_parser(__doc__).parse_args()
    torch.set_num_threads(arguments.threads)
    print("\n".join(f"{name}: {value}" for name, value in describe().items()))
    print(f"\n| masks | images | {' | '.join(f'PQ, γ {trust}' for trust in TRUSTS)} |")
    print(f"|{'---|' * (2 + len(TRUSTS))}")
    dataset, segmenter = open_dataset(arguments.data), load(arguments.model)
    settings = EvaluationSettings(
        trusts=TRUSTS,
        tasks=("panoptic",),
        held_out=arguments.held_out,
        limit=arguments.limit,
        protocol="model",
    )
    plan = make_plan(segmenter, dataset, settings=settings)
    for row, with_objectness in ROWS.items():
        with tempfile.TemporaryDirectory() as folder:
            if with_objectness is not None:
                write_masks(plan, dataset, Path(folder), with_objectness=with_objectness)
                segmenter = Segmenter.load(arguments.model, masks=folder, device="cpu")
            runs = evaluate(segmenter, dataset, settings=settings).runs
        cells = " | ".join(f"{100 * run.panoptic.groups['All'].pq:.1f}" for run in runs)
        print(f"| {row} | {len(plan.records)} | {cells} |")


def write_masks(plan: EvaluationPlan, dataset: Dataset, folder: Path, *, with_objectness: bool) -> None:
    """Write the masks of a network to one NPZ file per image, empty ones excepted."""
    prompt = plan.segmenter.prompt(plan.vocabulary, trust=0.0, background="none")
    for record in plan.records:
        encoded = plan.segmenter.encode(dataset.image(record))
        objectness = {mask.query: mask.objectness_before for mask in encoded.predict_explained(prompt).masks}
        masks = [binary_mask(logits, encoded.sizes) for logits in encoded.encoding.proposals.mask_logits[0]]
        kept = [query for query, mask in enumerate(masks) if mask.any()]
        np.savez(
            folder / f"{Path(record.image).stem}.npz",
            masks=np.stack([masks[query] for query in kept]),
            objectness=np.array([objectness[query] if with_objectness else 1.0 for query in kept]),
        )


if __name__ == "__main__":
    main()
