"""Two CPU processes with a sharded network (FSDP2) compute what one process does, and resume exactly."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_training
from ovrcoat.errors import ConfigError
from ovrcoat.training.config_file import read_config
from ovrcoat.training.run import train

STEPS, STOP = 4, 3  # a state is saved every 2 steps
PROGRAM = """
import sys
from pathlib import Path
import torch
from ovrcoat.training.config_file import read_config
from ovrcoat.training.run import train
from ovrcoat.training.trainer import StageTrainer
torch.set_num_threads(1)
path, stop = sys.argv[1:]
step = StageTrainer._step
def counted_step(self, number, crops):
    if number == int(stop):
        raise SystemExit(3)
    if number == 0:
        sharded = sum(type(value).__name__ == "DTensor" for value in self.trained.values())
        assert sharded == len(self.trained) - 2, (sharded, len(self.trained))  # two temperatures are scalars
        local = sum(
            value.to_local().numel() if hasattr(value, "to_local") else value.numel()
            for value in self.network.parameters()
        )
        assert local < 0.6 * sum(value.numel() for value in self.network.parameters())
    return step(self, number, crops)
StageTrainer._step = counted_step
train(read_config(path), base=Path(path).parent)
"""


def config(folder: Path, output: str, **more: object) -> Path:
    """Both losses, an average of the weights, and two parts per step of two images in all processes."""
    schedule = {
        "batch_size": 4,
        "micro_batch_size": 1 if "fsdp" in more else 2,
        "learning_rate": 1e-4,
        "max_grad_norm": 0.01,  # keeps rounding errors small
        "ema": 0.8,
    }
    stage = tiny_training.stage("one", steps=STEPS, schedule=schedule, ovr={})
    start = {"model": "tiny.safetensors", "selected_queries": 8, "local_masks": True}
    values = tiny_training.settings(folder, output=folder / output, stages=[stage], start=start, **more)
    return tiny_training.write(folder / f"{output}.yaml", values)


def launch(config: Path, *launchers: Sequence[str], stop: int = -1) -> str:
    """Run the program under each launcher at the same time; return the errors of those that fail."""
    program = config.with_name("launched.py")
    program.write_text(PROGRAM)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, str(program), str(config), str(stop)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for options in launchers
    ]
    outputs = [process.communicate(timeout=600)[1] for process in processes]
    return "".join(
        output for process, output in zip(processes, outputs, strict=True) if process.returncode != 0
    )


ONE_MACHINE = ("--nproc_per_node=2", "--standalone")


def two_machines() -> list[Sequence[str]]:
    """The launch lines of docs/training.md for two machines with a process each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    meeting = (f"--rdzv_endpoint=localhost:{port}", "--rdzv_backend=c10d", "--rdzv_id=test")
    return [("--nnodes=2", "--nproc_per_node=1", f"--node_rank={rank}", *meeting) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_a_sharded_network_trains_like_a_whole_one_and_resumes_exactly(tmp_path: Path):
    torch.set_num_threads(1)
    train(read_config(config(tmp_path, "single")), base=tmp_path)
    assert launch(config(tmp_path, "sharded", fsdp=True), ONE_MACHINE) == ""
    log = tiny_training.records(tmp_path / "sharded/one/log.jsonl")
    for together, alone in zip(log, tiny_training.records(tmp_path / "single/one/log.jsonl"), strict=True):
        # rounding can change whether a query attends to a cell on the border of its mask
        assert together == pytest.approx(alone, rel=1e-3, abs=1e-5)
        assert together["center"] == pytest.approx(alone["center"], rel=1e-5)  # needs no attention
    weights = load_file(tmp_path / "sharded/one/model.safetensors")
    for key, value in load_file(tmp_path / "single/one/model.safetensors").items():
        torch.testing.assert_close(weights[key], value, rtol=1e-5, atol=1e-5)

    stopped = config(tmp_path, "stopped", fsdp=True, checkpoint_activations=True)
    assert "exitcode  : 3" in launch(stopped, ONE_MACHINE, stop=STOP)
    assert len(tiny_training.records(tmp_path / "stopped/one/log.jsonl")) == STOP
    assert launch(stopped, *two_machines()) == ""
    assert tiny_training.records(tmp_path / "stopped/one/log.jsonl") == log
    for key, value in load_file(tmp_path / "stopped/one/model.safetensors").items():
        assert torch.equal(weights[key], value), key


def test_one_process_ignores_the_setting(tmp_path: Path):
    path = config(tmp_path, "alone", fsdp=True, save_every=4)
    train(read_config(path, ["stages.0.schedule.steps=1"]), base=tmp_path)
    assert (tmp_path / "alone/one/model.safetensors").is_file()


def test_validation_does_not_go_with_a_sharded_network(tmp_path: Path):
    path = config(tmp_path, "x", fsdp=True)
    with pytest.raises(ConfigError, match="fsdp does not allow validation"):
        read_config(path, ["stages.0.validation.data.path=full", "stages.0.validation.every=2"])
