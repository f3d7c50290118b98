"""Build nano, the model that is part of the package, from its pretrained towers and labeled images.

    pip install -e '.[nano,train]'
    export OVRCOAT_DATASETS=/path/to/datasets       # see tools/nano/nano.yaml for what it must contain
    python tools/nano/build.py

1. initial_model.py combines the towers and random decoders into an initial checkpoint (initial.yaml).
2. `ovrcoat train` trains it in two stages (nano.yaml).
3. pack.py writes the result into the package, in half precision.

An interrupted build continues exactly when the command is run again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from initial_model import InitialModelConfig, make_initial_model
from ovrcoat.checkpoints.catalog import embedded_path
from ovrcoat.training.config_file import read_settings
from ovrcoat.training.run import StageStatus, train
from pack import pack

FOLDER = Path(__file__).parent
INITIAL_CONFIG = FOLDER / "initial.yaml"
TRAINING_CONFIG = FOLDER / "nano.yaml"


def main() -> None:
    """Read the arguments and print what is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="change a setting of nano.yaml: key=value")
    parser.add_argument("--target", type=Path, default=embedded_path(), help="packed file to write")
    arguments = parser.parse_args()
    build(arguments.output, seed=arguments.seed, overrides=arguments.set, target=arguments.target)
    print(f"→ {arguments.target}")


def build(output: Path, *, seed: int, overrides: Sequence[str], target: Path) -> None:
    """Run all steps; completed ones are not repeated.

    Args:
        output: folder for the initial checkpoint and the stages.
        seed: of the whole build.
        overrides: changes of settings of nano.yaml, "key=value".
        target: packed file to write.

    Raises:
        OvrcoatError: see `make_initial_model`, `train` and `pack`.
    """
    initial = make_initial_model(
        read_settings(INITIAL_CONFIG, InitialModelConfig), base=FOLDER, folder=output / "initial", seed=seed
    )
    own = {"start.model": str(initial), "output": str(output), "seed": seed}
    settings = [*(f"{key}={json.dumps(value)}" for key, value in own.items()), *overrides]
    train(TRAINING_CONFIG, overrides=settings, progress=True, on_status=_print_status)
    pack(output, TRAINING_CONFIG, target=target, overrides=settings)


def _print_status(status: StageStatus) -> None:
    print(f"{status.name}: {status.steps_done} of {status.steps} steps done")


if __name__ == "__main__":
    main()
