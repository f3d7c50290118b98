"""The experiment of the paper at nano's scale: neither, COAT, OVR, both; zero-shot, over several seeds.

COAT stands in the table with γ = 0.5 and with adaptive trust, OVR with its loss on logits (ours, the paper's
formula) and on probabilities (the released code's second softmax).

    python tools/experiment.py --data ../shared/data --folder runs/experiment

Trains configs/experiment.yaml once per seed (two stages, and the second one again with the other loss),
evaluates the checkpoints on MSRC (zero-shot: none of its images was trained on) and on held-out COCO images,
and writes table.md. Interrupt it: the next call goes on. Several seeds may run at once, one process each
(--seeds 0, --seeds 1, ...); --only-table then puts them together.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ovrcoat.evaluation.reports.report import trust_key

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "experiment.yaml"
# What is evaluated, and where below a seed's folder it lies.
MODELS = {"segmentation": "segmentation", "ovr": "ovr", "probabilities": "probabilities/ovr"}
FIRST_STAGE = ("start", "segmentation")  # folders that both second stages begin from
ROWS = {
    "neither": ("segmentation", "0"),
    "COAT": ("segmentation", "0.5"),
    "COAT, adaptive": ("segmentation", "adaptive"),
    "OVR": ("ovr", "0"),
    "both": ("ovr", "0.5"),
    "both, adaptive": ("ovr", "adaptive"),
    "OVR on probabilities": ("probabilities", "0"),
    "both, OVR on probabilities": ("probabilities", "0.5"),
    "the same, adaptive": ("probabilities", "adaptive"),
}
WITHOUT_COAT = {model: row for row, (model, trust) in ROWS.items() if trust == "0"}
SETS = {"msrc_dev": ["--task", "panoptic,semantic"], "coco_things": ["--held-out", "0.1"]}

Reports = dict[int, dict[tuple[str, str], Any]]  # by seed, then model and data set


def main() -> None:
    """Train, evaluate, tabulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with coco_things, msrc_dev, imagenet_names"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/experiment"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trust", default="0,0.5,adaptive", help="γ values of the evaluation")
    parser.add_argument("--only-table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.only_table:
        for seed in arguments.seeds:
            run_seed(seed, arguments)
    reports = read_reports(arguments.folder, arguments.seeds)
    text = "\n\n".join(part for name in SETS for part in tables(reports, name))
    (arguments.folder / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def run_seed(seed: int, arguments: argparse.Namespace) -> None:
    """All stages and their evaluations; what is there is not done again."""
    run = arguments.folder / f"seed-{seed}"
    train = ("train", CONFIG, "--set", f"seed={seed}", "--quiet", "--output")
    ovrcoat(*train, run)
    for folder in FIRST_STAGE:
        if not (run / "probabilities" / folder).exists():
            leave_out = shutil.ignore_patterns("on-*", "state.pt")
            shutil.copytree(run / folder, run / "probabilities" / folder, ignore=leave_out)
    ovrcoat(*train, run / "probabilities", "--set", "stages.1.ovr.form=probabilities")
    for model, place in MODELS.items():
        for name, options in SETS.items():
            folder = evaluation(arguments.folder, seed, model, name)
            weights = run / place / "model.safetensors"
            command = ["--data", arguments.data / name, "--model", weights, "--trust", arguments.trust]
            ovrcoat("evaluate", *command, *options, "--output", folder, "--quiet")


def evaluation(folder: Path, seed: int, model: str, name: str) -> Path:
    """Where the report on the data set `name` goes."""
    return folder / f"seed-{seed}" / MODELS[model] / f"on-{name}"


def ovrcoat(*command: object) -> None:
    """Run a verb; its failure ends all."""
    subprocess.run([sys.executable, "-m", "ovrcoat", *map(str, command)], check=True)


def read_reports(folder: Path, seeds: list[int]) -> Reports:
    """The reports of every seed that has them all."""
    places = {
        seed: {(s, n): evaluation(folder, seed, s, n) / "report.json" for s in MODELS for n in SETS}
        for seed in seeds
    }
    found = {
        seed: {key: json.loads(path.read_text()) for key, path in paths.items()}
        for seed, paths in places.items()
        if all(path.is_file() for path in paths.values())
    }
    if not found:
        raise SystemExit(f"{folder}: no seed of {seeds} has reports of all models on {', '.join(SETS)}")
    return found


def tables(reports: Reports, name: str) -> list[str]:
    """All that is told of the data set `name`, as Markdown."""
    title = f"**{name}**, seeds {sorted(reports)}, percent, mean ± standard deviation"
    parts = [title, panoptic_table(reports, name), lost_table(reports, name)]
    if all(run["semantic"] for row in ROWS for run in runs_of(reports, name, row)):
        parts.insert(2, semantic_table(reports, name))
    return parts


def panoptic_table(reports: Reports, name: str) -> str:
    """PQ, SQ, RQ of all, seen and unseen categories, and how many segments are right and wrong."""
    groups = [
        group
        for group in ("All", "Seen", "Unseen")
        if all(run["panoptic"]["groups"][group]["n"] > 0 for run in runs_of(reports, name, "neither"))
    ]
    columns = [(group, key) for group in groups for key in ("pq", "sq", "rq")]
    rows = []
    for row in known_rows(reports, name):
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
    """mIoU, and what COAT changes in it: seed by seed, for the seeds differ by more than that."""
    rows = []
    for row in known_rows(reports, name):
        values = mean_ious(reports, name, row)
        without = mean_ious(reports, name, WITHOUT_COAT[ROWS[row][0]])
        change = [value - other for value, other in zip(values, without, strict=True)]
        rows.append([row, spread(values), spread(change, digits=2) if ROWS[row][1] != "0" else ""])
    return markdown(["", "mIoU", "change by COAT"], rows)


def mean_ious(reports: Reports, name: str, row: str) -> list[float]:
    """mIoU in percent, seed by seed."""
    return [run["semantic"]["mIoU"] for run in runs_of(reports, name, row)]


def lost_table(reports: Reports, name: str) -> str:
    """What became of the true segments, summed over the seeds, in percent."""
    known = known_rows(reports, name)
    lost = {row: [run["error_analysis"] for run in runs_of(reports, name, row)] for row in known}
    rows = []
    for place, outcome in enumerate(lost["neither"][0]["rows"]):
        cells = []
        for runs in lost.values():
            count = sum(run["rows"][place]["counts"]["All"] for run in runs)
            cells.append(f"{100 * count / sum(run['segments']['All'] for run in runs):.1f} %")
        rows.append([outcome["outcome"], *cells])
    return markdown(["true segments", *known], rows)


def known_rows(reports: Reports, name: str) -> list[str]:
    """Those of `ROWS` that every seed was evaluated with."""
    return [row for row in ROWS if len(runs_of(reports, name, row)) == len(reports)]


def runs_of(reports: Reports, name: str, row: str) -> list[Any]:
    """What the reports hold of a row, seed by seed."""
    model, trust = ROWS[row]
    return [
        run
        for report in reports.values()
        for run in report[model, name]["runs"]
        if trust_key(run["trust"]) == trust
    ]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float], *, digits: int = 1) -> str:
    """Mean ± sample standard deviation."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
