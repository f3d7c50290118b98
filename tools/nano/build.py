"""Build nano, the model that is part of the package, from labeled images.

    pip install -e '.[nano,train]'
    export OVRCOAT_DATASETS=/path/to/datasets       # see tools/nano/nano.yaml for what it must contain
    python tools/nano/build.py --processes 2

1. The weights to start from: those that were in the package before, from the history of this repository.
2. `ovrcoat train` continues them (nano.yaml).
3. pack.py writes the result into the package, in half precision.

With --from-scratch, step 1 makes a first version of the weights from the pretrained towers instead:
initial_model.py combines the towers and random decoders (initial.yaml), and `ovrcoat train` trains them in
two stages (scratch.yaml).

An interrupted build continues exactly when the command is run again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from initial_model import InitialModelConfig, make_initial_model
from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.system.fingerprints import file_sha256
from ovrcoat.training.config_file import read_config, read_settings
from ovrcoat.training.run import MODEL_FILE, StageStatus, train
from pack import pack

FOLDER = Path(__file__).parent
INITIAL_CONFIG = FOLDER / "initial.yaml"
SCRATCH_CONFIG = FOLDER / "scratch.yaml"
TRAINING_CONFIG = FOLDER / "nano.yaml"
PREVIOUS_COMMIT = "7d6bb2fd98e18feae95bb485a8ed208343989e74"
PREVIOUS_WEIGHTS = {  # file below src/ovrcoat/weights → its SHA-256
    "nano.safetensors": "93dd692be95c7caf377017eeb089b5c2c0dd4f4c7e494ee3cdc86b64842f3535",
    "nano-text.safetensors": "90b8fbb17ce0634ea0d63999026bc89a75e9a79bc7d9d8fd1656d18a96313619",
}


def main() -> None:
    """Read the arguments and print what is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--from-scratch", action="store_true", help="start from the pretrained towers")
    parser.add_argument("--processes", type=int, default=1, help="training processes, one per core or GPU")
    parser.add_argument("--target", type=Path, default=embedded_path(), help="packed file to write")
    arguments = parser.parse_args()
    start = initial_weights if arguments.from_scratch else previous_weights
    build(
        arguments.output,
        start=start(arguments.output, processes=arguments.processes),
        processes=arguments.processes,
        target=arguments.target,
    )
    print(f"→ {arguments.target}")


def build(
    output: Path, *, start: Path, target: Path, processes: int = 1, overrides: Sequence[str] = ()
) -> None:
    """Continue the training of `start` and pack the result; completed stages are not repeated.

    Args:
        output: folder for the stages.
        start: checkpoint to start from.
        target: packed file to write.
        processes: number of training processes; the result depends on it only by rounding.
        overrides: changes of settings of nano.yaml, "key=value".

    Raises:
        OvrcoatError: see `train` and `pack`.
    """
    settings = [f"start.model={json.dumps(str(start.resolve()))}", f"output={json.dumps(str(output))}"]
    settings += overrides
    run_training(TRAINING_CONFIG, settings, processes=processes)
    pack(output, TRAINING_CONFIG, target=target, overrides=settings)


def previous_weights(output: Path, *, processes: int = 1) -> Path:
    """Return the weights that the package had before nano.yaml, in a folder below `output`.

    Raises:
        SystemExit: the history of the repository does not contain them.
    """
    folder = output / "start"
    folder.mkdir(parents=True, exist_ok=True)
    for name, sha256 in PREVIOUS_WEIGHTS.items():
        path = folder / name
        if path.is_file() and file_sha256(path) == sha256:
            continue
        shown = f"{PREVIOUS_COMMIT}:src/ovrcoat/weights/{name}"
        found = subprocess.run(["git", "show", shown], cwd=FOLDER, capture_output=True, check=False)
        if found.returncode != 0:
            raise SystemExit(
                f"git show {shown} failed: {found.stderr.decode().strip()}. The build needs the history of "
                "the repository: in a shallow clone, run git fetch --unshallow; or use --from-scratch"
            )
        write_atomically(path, lambda file, data=found.stdout: file.write(data))
        if file_sha256(path) != sha256:
            raise SystemExit(f"{path} has another SHA-256 than the weights of {PREVIOUS_COMMIT}")
    return folder / "nano.safetensors"


def initial_weights(
    output: Path, *, processes: int = 1, seed: int = 0, overrides: Sequence[str] = ()
) -> Path:
    """Train a first version of the weights from the pretrained towers; completed steps are not repeated.

    Args:
        output: folder for the initial checkpoint and, below "scratch", the stages.
        processes: number of training processes.
        seed: of the initial checkpoint and the training.
        overrides: changes of settings of scratch.yaml, "key=value".

    Raises:
        OvrcoatError: see `make_initial_model` and `train`.
    """
    initial = make_initial_model(
        read_settings(INITIAL_CONFIG, InitialModelConfig), base=FOLDER, folder=output / "initial", seed=seed
    )
    run = output / "scratch"
    own = {"start.model": str(initial.resolve()), "output": str(run), "seed": seed}
    settings = [*(f"{key}={json.dumps(value)}" for key, value in own.items()), *overrides]
    run_training(SCRATCH_CONFIG, settings, processes=processes)
    return run / read_config(SCRATCH_CONFIG, settings).stages[-1].name / MODEL_FILE


def run_training(config: Path, overrides: Sequence[str], *, processes: int) -> None:
    """Train with a configuration, in this process or in several new ones."""
    if processes == 1:
        train(config, overrides=overrides, progress=True, on_status=_print_status)
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    changes = [part for override in overrides for part in ("--set", override)]
    subprocess.run([*launcher, "-m", "ovrcoat", "train", str(config), *changes], check=True)


def _print_status(status: StageStatus) -> None:
    print(f"{status.name}: {status.steps_done} of {status.steps} steps done")


if __name__ == "__main__":
    main()
