"""`ovrcoat` and `python -m ovrcoat`: the command line, with torch's libraries fetched in the meantime."""

import ctypes
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

TORCH_VERBS = ("segment", "evaluate", "train")  # that always need torch


def main() -> int:
    """Run the command line on the arguments of the process; returns the exit status."""
    if any(verb in sys.argv[1:3] for verb in TORCH_VERBS) and sys.platform == "linux":
        # no daemon: a process must not end while its libraries are being loaded
        threading.Thread(target=fetch_torch_libraries).start()
    from ovrcoat.cli import main as run

    return run()


def fetch_torch_libraries(names: Sequence[str] = ("libtorch_global_deps.so", "libtorch_python.so")) -> bool:
    """Load torch's shared libraries without Python's lock, as `import torch` does a moment later with it.

    That is a third of a second on a second core, while the command line is imported. Where it fails, the
    import says what is wrong.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        for name in names:  # in torch's own order; the first for all to see
            mode = ctypes.RTLD_GLOBAL if name == names[0] else ctypes.RTLD_LOCAL
            ctypes.CDLL(str(Path(spec.origin).parent / "lib" / name), mode=mode)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
