"""The experiment of the paper at nano's scale: neither, COAT, OVR, both; zero-shot, over several seeds.

    python tools/experiment.py --data ../shared/data --folder runs/experiment

Trains configs/experiment.yaml once per seed (two stages), evaluates both checkpoints on MSRC (zero-shot: none
of its photos was trained on) and on held-out COCO photos, and writes table.md. Interrupt it: the next
call goes on.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "experiment.yaml"
STAGES = {"segmentation": "", "ovr": "OVR"}
ROWS = {
    "neither": ("segmentation", "0"),
    "COAT": ("segmentation", "0.5"),
    "OVR": ("ovr", "0"),
    "both": ("ovr", "0.5"),
}
SETS = {"msrc_dev": ["--task", "panoptic,semantic"], "coco_things": ["--held-out", "0.1"]}


def main() -> None:
    """Train, evaluate, tabulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with coco_things, msrc_dev, imagenet_names"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/experiment"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trust", default="0,0.5", help="γ values of the evaluation")
    parser.add_argument("--only-table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.only_table:
        for seed in arguments.seeds:
            run_seed(seed, arguments)
    reports = {
        seed: {
            (stage, name): json.loads(
                (evaluation(arguments.folder, seed, stage, name) / "report.json").read_text()
            )
            for stage in STAGES
            for name in SETS
        }
        for seed in arguments.seeds
        if all(
            (evaluation(arguments.folder, seed, s, n) / "report.json").is_file() for s in STAGES for n in SETS
        )
    }
    text = "\n\n".join(table(reports, name) for name in SETS)
    (arguments.folder / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def run_seed(seed: int, arguments: argparse.Namespace) -> None:
    """Both stages and their evaluations; what is there is not done again."""
    run = arguments.folder / f"seed-{seed}"
    ovrcoat("train", CONFIG, "--set", f"seed={seed}", "--output", run, "--quiet")
    for stage in STAGES:
        for name, options in SETS.items():
            folder = evaluation(arguments.folder, seed, stage, name)
            model = run / stage / "model.safetensors"
            command = ["--data", arguments.data / name, "--model", model, "--trust", arguments.trust]
            ovrcoat("evaluate", *command, *options, "--output", folder, "--quiet")


def evaluation(folder: Path, seed: int, stage: str, name: str) -> Path:
    """Where the report on the data set `name` goes."""
    return folder / f"seed-{seed}" / stage / f"on-{name}"


def ovrcoat(*command: object) -> None:
    """Run a verb; its failure ends all."""
    subprocess.run([sys.executable, "-m", "ovrcoat", *map(str, command)], check=True)


def table(reports: dict[int, dict[tuple[str, str], Any]], name: str) -> str:
    """Mean and spread over the seeds, one line per combination."""
    groups = [group for group in ("All", "Seen", "Unseen") if _has(reports, name, group)]
    columns = [f"{group} {key.upper()}" for group in groups for key in ("pq", "sq", "rq")]
    semantic = name == "msrc_dev"
    lines = [
        f"**{name}**, seeds {sorted(reports)}, percent, mean ± standard deviation",
        "",
        "| | " + " | ".join([*columns, *(["mIoU"] if semantic else [])]) + " |",
        "|---|" + "---|" * (len(columns) + semantic),
    ]
    for title, (stage, trust) in ROWS.items():
        runs = [_run(report[stage, name], trust) for report in reports.values()]
        cells = [
            spread([100 * (run["panoptic"]["groups"][group][key] or 0) for run in runs])
            for group in groups
            for key in ("pq", "sq", "rq")
        ]
        if semantic:
            cells.append(spread([run["semantic"]["mIoU"] for run in runs]))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_lost(reports, name)])


def _lost(reports: dict[int, dict[tuple[str, str], Any]], name: str) -> list[str]:
    """What became of the true segments, summed over the seeds, in percent."""
    lines = ["| true segments | " + " | ".join(ROWS) + " |", "|---|" + "---|" * len(ROWS)]
    first = next(iter(reports.values()))
    rows = _run(first["segmentation", name], "0")["lost_masks"]["rows"]
    for place, row in enumerate(rows):
        cells = []
        for stage, trust in ROWS.values():
            runs = [_run(report[stage, name], trust)["lost_masks"] for report in reports.values()]
            count = sum(run["rows"][place]["counts"]["All"] for run in runs)
            cells.append(f"{100 * count / sum(run['segments']['All'] for run in runs):.1f} %")
        lines.append(f"| {row['outcome']} | " + " | ".join(cells) + " |")
    return lines


def _has(reports: dict[int, dict[tuple[str, str], Any]], name: str, group: str) -> bool:
    return all(
        _run(report["segmentation", name], "0")["panoptic"]["groups"].get(group, {}).get("n", 0) > 0
        for report in reports.values()
    )


def _run(report: Any, trust: str) -> Any:
    return next(run for run in report["runs"] if f"{run['trust']:g}" == trust)


def spread(values: list[float]) -> str:
    """Mean ± sample standard deviation."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
