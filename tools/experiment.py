"""Repeat the experiment of the paper with a small model: without COAT and OVR, with each, and with both.

    export OVRCOAT_DATASETS=/path/to/datasets       # see configs/experiment.yaml for what it must contain
    python tools/experiment.py --folder runs/experiment

COAT is evaluated with γ = 0.5 and with adaptive trust. OVR is trained with its loss on logits (the formula of
the paper, our default) and on probabilities (the second softmax of the released code).

For each seed, the tool builds an initial model (tools/nano), trains configs/experiment.yaml (two stages, and
the second one again with the other loss), and evaluates the checkpoints on MSRC (zero-shot: no image of it
is used for training) and on held-out COCO images. It then writes table.md.

An interrupted call can be repeated. Several seeds can run at once, in one process each (--seeds 0, --seeds 1,
...); --only-table then makes the common table.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ovrcoat.evaluation.reports.report import trust_key

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "experiment.yaml"
INITIAL_MODEL = ROOT / "tools" / "nano" / "initial_model.py"
INITIAL_CONFIG = ROOT / "tools" / "nano" / "experiment-initial.yaml"
DATASETS = "OVRCOAT_DATASETS"  # environment variable
MODELS = {  # the models that are evaluated, and their folders below that of a seed
    "segmentation": "segmentation",
    "ovr": "ovr",
    "probabilities": "probabilities/ovr",
}
ROWS = {  # rows of the tables: model and γ
    "neither": ("segmentation", "0"),
    "COAT": ("segmentation", "0.5"),
    "COAT, adaptive": ("segmentation", "adaptive"),
    "OVR": ("ovr", "0"),
    "both": ("ovr", "0.5"),
    "both, adaptive": ("ovr", "adaptive"),
    "OVR on probabilities": ("probabilities", "0"),
    "both, OVR on probabilities": ("probabilities", "0.5"),
    "both, OVR on probabilities, adaptive": ("probabilities", "adaptive"),
}
WITHOUT_COAT = {model: row for row, (model, trust) in ROWS.items() if trust == "0"}
EVALUATED = {"msrc_dev": ["--task", "panoptic,semantic"], "coco_things": ["--held-out", "0.1"]}

Reports = dict[int, dict[tuple[str, str], Any]]  # by seed, then by model and dataset


def main() -> None:
    """Train, evaluate, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/experiment"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trust", default="0,0.5,adaptive", help="γ values of the evaluation")
    parser.add_argument("--only-table", action="store_true", help="neither train nor evaluate")
    arguments = parser.parse_args()
    if not arguments.only_table:
        if not os.environ.get(DATASETS):
            parser.error(f"the environment variable {DATASETS} is not set; see configs/experiment.yaml")
        for seed in arguments.seeds:
            run_seed(seed, arguments.folder, trust=arguments.trust)
    reports = read_reports(arguments.folder, arguments.seeds)
    text = "\n\n".join(part for name in EVALUATED for part in tables(reports, name))
    (arguments.folder / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def run_seed(seed: int, folder: Path, *, trust: str) -> None:
    """Train and evaluate all models of a seed; completed steps are not repeated."""
    run = folder / f"seed-{seed}"
    initial = run / "initial"
    run_python(INITIAL_MODEL, INITIAL_CONFIG, "--seed", seed, "--folder", initial)
    settings = ("--set", f"seed={seed}", "--set", f"start.model={initial / 'model.safetensors'}")
    train = ("train", CONFIG, *settings, "--quiet", "--output")
    ovrcoat(*train, run)
    if not (run / "probabilities" / "segmentation").exists():  # both second stages share the first one
        skipped = shutil.ignore_patterns("on-*", "state.pt")
        shutil.copytree(run / "segmentation", run / "probabilities" / "segmentation", ignore=skipped)
    ovrcoat(*train, run / "probabilities", "--set", "stages.1.ovr.form=probabilities")
    for model, path in MODELS.items():
        for name, options in EVALUATED.items():
            weights = run / path / "model.safetensors"
            data = Path(os.environ[DATASETS]) / name
            command = ["--data", data, "--model", weights, "--trust", trust]
            output = evaluation_folder(folder, seed, model, name)
            ovrcoat("evaluate", *command, *options, "--output", output, "--quiet")


def evaluation_folder(folder: Path, seed: int, model: str, name: str) -> Path:
    """Return the folder of a model's report on the dataset `name`."""
    return folder / f"seed-{seed}" / MODELS[model] / f"on-{name}"


def ovrcoat(*command: object) -> None:
    """Run an `ovrcoat` command; stop if it fails."""
    run_python("-m", "ovrcoat", *command)


def run_python(*command: object) -> None:
    """Run a Python program; stop if it fails."""
    subprocess.run([sys.executable, *map(str, command)], check=True)


def read_reports(folder: Path, seeds: list[int]) -> Reports:
    """Read the reports of all seeds that are complete."""
    paths_of = {
        seed: {
            (model, name): evaluation_folder(folder, seed, model, name) / "report.json"
            for model in MODELS
            for name in EVALUATED
        }
        for seed in seeds
    }
    found = {
        seed: {key: json.loads(path.read_text()) for key, path in paths.items()}
        for seed, paths in paths_of.items()
        if all(path.is_file() for path in paths.values())
    }
    if not found:
        raise SystemExit(f"{folder}: no seed of {seeds} has reports of all models on {', '.join(EVALUATED)}")
    return found


def tables(reports: Reports, name: str) -> list[str]:
    """Return the tables of the dataset `name` as Markdown."""
    title = f"**{name}**, seeds {sorted(reports)}, percent, mean ± standard deviation"
    parts = [title, panoptic_table(reports, name), error_table(reports, name)]
    if all(run["semantic"] for row in ROWS for run in runs_of(reports, name, row)):
        parts.insert(2, semantic_table(reports, name))
    return parts


def panoptic_table(reports: Reports, name: str) -> str:
    """PQ, SQ and RQ of all, seen and unseen classes, and the number of true and false positives."""
    groups = [
        group
        for group in ("All", "Seen", "Unseen")
        if all(run["panoptic"]["groups"][group]["n"] > 0 for run in runs_of(reports, name, "neither"))
    ]
    columns = [(group, key) for group in groups for key in ("pq", "sq", "rq")]
    rows = []
    for row in complete_rows(reports, name):
        runs = [run["panoptic"] for run in runs_of(reports, name, row)]
        cells = [spread([100 * (run["groups"][group][key] or 0) for run in runs]) for group, key in columns]
        counts = [
            statistics.mean(sum(category[key] for category in run["per_class"].values()) for run in runs)
            for key in ("tp", "fp")
        ]
        rows.append([row, *cells, " / ".join(f"{count:.0f}" for count in counts)])
    return markdown(
        ["", *(f"{group} {key.upper()}" for group, key in columns), "true / false positives"], rows
    )


def semantic_table(reports: Reports, name: str) -> str:
    """mIoU, and its change by COAT, computed for each seed because seeds differ by more than that change."""
    rows = []
    for row in complete_rows(reports, name):
        values = mean_ious(reports, name, row)
        without = mean_ious(reports, name, WITHOUT_COAT[ROWS[row][0]])
        change = [value - other for value, other in zip(values, without, strict=True)]
        rows.append([row, spread(values), spread(change, digits=2) if ROWS[row][1] != "0" else ""])
    return markdown(["", "mIoU", "change by COAT"], rows)


def mean_ious(reports: Reports, name: str, row: str) -> list[float]:
    """Return the mIoU of each seed in percent."""
    return [run["semantic"]["mIoU"] for run in runs_of(reports, name, row)]


def error_table(reports: Reports, name: str) -> str:
    """Error analysis of the ground-truth segments, over all seeds, in percent."""
    titles = complete_rows(reports, name)
    analyses = {row: [run["error_analysis"] for run in runs_of(reports, name, row)] for row in titles}
    rows = []
    for index, outcome in enumerate(analyses["neither"][0]["rows"]):
        cells = []
        for runs in analyses.values():
            count = sum(run["rows"][index]["counts"]["All"] for run in runs)
            cells.append(f"{100 * count / sum(run['segments']['All'] for run in runs):.1f} %")
        rows.append([outcome["outcome"], *cells])
    return markdown(["ground-truth segments", *titles], rows)


def complete_rows(reports: Reports, name: str) -> list[str]:
    """Return the rows that every seed was evaluated for."""
    return [row for row in ROWS if len(runs_of(reports, name, row)) == len(reports)]


def runs_of(reports: Reports, name: str, row: str) -> list[Any]:
    """Return the runs of a row, one for each seed."""
    model, trust = ROWS[row]
    return [
        run
        for report in reports.values()
        for run in report[model, name]["runs"]
        if trust_key(run["trust"]) == trust
    ]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Format a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float], *, digits: int = 1) -> str:
    """Format mean ± sample standard deviation."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
