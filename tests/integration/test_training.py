"""Killed and resumed runs, and runs of two processes, give the same as one uninterrupted process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_training
from ovrcoat.training.config_file import read_config
from ovrcoat.training.run import train
from ovrcoat.training.trainer import StageTrainer
from tar_packing import pack
from tiny_training import VOID

PROGRAM = """
import sys
from cyclopts import App
from ovrcoat.cli.train import train
app = App(result_action="return_value", suppress_keyboard_interrupt=False)
app.command(train)
sys.exit(app(sys.argv[1:]))
"""
STEPS, SAVED = 12, 4  # a state is saved every 4 steps
SAVED_TINY = 2  # of `tiny_training.settings`


def two_stages(folder: Path, output: Path, **more: Any) -> Path:
    """The configuration of both stages; its stochastic depth is on."""
    model = folder / "tiny.safetensors"
    if not model.exists():
        tiny_training.make_model(model, drop_path=0.3)
    stages = [
        tiny_training.stage("one", steps=STEPS, schedule={"ema": 0.8, "micro_batch_size": 1}),
        tiny_training.stage("two", steps=4, data="part", ovr={}),
    ]
    values = tiny_training.settings(folder, output=output, stages=stages, save_every=SAVED, **more)
    return tiny_training.write(folder / f"{output.name}.yaml", values)


def begin(config: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`ovrcoat train` in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, "train", str(config), "--quiet", *arguments]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill_in_the_middle(process: subprocess.Popen[bytes], log: Path, *, lines: int) -> None:
    """kill -9 as soon as `log` has that many lines."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if log.is_file() and log.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9, "it ended before it could be killed"


def results(output: Path) -> dict[str, Any]:
    """What both stages logged, and their weights."""
    found: dict[str, Any] = {}
    for name in ("one", "two"):
        found[name] = tiny_training.records(output / name / "log.jsonl")
        found[f"{name} weights"] = {
            key: value.numpy().tobytes()
            for key, value in load_file(output / name / "model.safetensors").items()
        }
    return found


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_losses_and_weights(tmp_path: Path):
    """Killed without data loading workers and resumed with one, and the other way round."""
    torch.set_num_threads(1)
    train(read_config(two_stages(tmp_path, tmp_path / "whole")), base=tmp_path)
    whole = results(tmp_path / "whole")
    assert [line["step"] for line in whole["one"]] == list(range(STEPS))
    for first, then in ((0, 1), (1, 0)):
        output = tmp_path / f"killed{first}"
        process = begin(two_stages(tmp_path, output, workers=first))
        kill_in_the_middle(process, output / "one" / "log.jsonl", lines=SAVED + 2)
        done = tiny_training.records(output / "one" / "log.jsonl")
        assert SAVED < len(done) < STEPS
        assert not (output / "one" / "model.safetensors").exists()
        torch.rand(5)  # another process has another random state
        train(read_config(two_stages(tmp_path, output, workers=then)), base=tmp_path)
        assert results(output) == whole


@pytest.mark.slow
def test_tar_shards_train_like_the_folder_and_resume_exactly(tmp_path: Path):
    """The order of samples depends on the seed and the step alone, not on where the files are."""
    torch.set_num_threads(1)
    stage = tiny_training.stage("one", steps=4)
    values = tiny_training.settings(tmp_path, output=tmp_path / "folder", stages=[stage])
    train(read_config(tiny_training.write(tmp_path / "folder.yaml", values)), base=tmp_path)
    pack(tmp_path / "full", tmp_path / "packed")
    stage["data"] = [{"path": "packed", "unlabeled": "void"}]
    values = values | {"output": str(tmp_path / "shards"), "stages": [stage], "workers": 1}
    config = read_config(tiny_training.write(tmp_path / "shards.yaml", values))

    def interrupt(trainer: StageTrainer, record: dict[str, float], step: int) -> None:
        if step == SAVED_TINY:  # one step after the last saved state
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTrainer, "_track", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, base=tmp_path)
    train(config, base=tmp_path)
    whole, resumed = (tmp_path / name / "one" for name in ("folder", "shards"))
    assert tiny_training.records(resumed / "log.jsonl") == tiny_training.records(whole / "log.jsonl")
    weights = load_file(resumed / "model.safetensors")
    for key, value in load_file(whole / "model.safetensors").items():
        assert torch.equal(weights[key], value), key


LAUNCHED = """
import sys
from pathlib import Path
import accelerate
import torch
from ovrcoat.training.config_file import read_config
from ovrcoat.training.run import train
torch.set_num_threads(1)
accelerate.Accelerator.end_training = lambda self: None  # which would disconnect the processes
for path in sys.argv[1:]:
    train(read_config(path), base=Path(path).parent)
"""


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Path]:
    """Configurations by name: all labeled, partly labeled, and with too few masks for all processes."""
    small_steps = {
        "batch_size": 4,
        "learning_rate": 1e-4,
        "max_grad_norm": 0.01,
    }  # keeps rounding errors small
    few = {**small_steps, "batch_size": 2}
    tiny_training.make_images(tmp_path / "rare", [(tiny_training.CAT, VOID), (VOID, VOID)])
    stages = {
        "full": [tiny_training.stage("one", steps=2, schedule=small_steps)],
        "part": [tiny_training.stage("one", steps=2, data="part", schedule=small_steps, ovr={})],
        # one mask in all, or none
        "rare": [
            tiny_training.stage("one", steps=5, data="rare", schedule=few, ovr={"form": "probabilities"})
        ],
    }
    more = {"part": {"start": {"model": "tiny.safetensors", "selected_queries": 8, "local_masks": True}}}
    values = {
        name: tiny_training.settings(
            tmp_path, output=tmp_path / "single" / name, stages=stages[name], **more.get(name, {})
        )
        for name in stages
    }
    return {name: tiny_training.write(tmp_path / f"{name}.yaml", value) for name, value in values.items()}


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path: Path, cases: dict[str, Path]):
    torch.set_num_threads(1)
    paths = []
    for name, path in cases.items():
        train(read_config(path), base=tmp_path)
        doubled = path.read_text().replace(str(tmp_path / "single"), str(tmp_path / "double"))
        paths.append(tmp_path / f"{name}-double.yaml")
        paths[-1].write_text(doubled)
    program = tmp_path / "launched.py"
    program.write_text(LAUNCHED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    run = subprocess.run(
        [*launcher, str(program), *map(str, paths)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    for name in cases:
        one, two = (tmp_path / kind / name / "one" for kind in ("single", "double"))
        assert (two / "log.1.jsonl").is_file(), "the processes were not connected"
        for alone, together in zip(
            tiny_training.records(one / "log.jsonl"), tiny_training.records(two / "log.jsonl"), strict=True
        ):
            assert together == pytest.approx(alone, rel=1e-5, abs=1e-5), name
        weights = load_file(two / "model.safetensors")
        for key, value in load_file(one / "model.safetensors").items():
            torch.testing.assert_close(
                weights[key],
                value,
                rtol=1e-5,
                atol=1e-5,
                msg=lambda text, place=(name, key): f"{place}: {text}",
            )
        assert len(json.loads((two / "settings.json").read_text())) > 1
