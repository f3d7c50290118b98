"""Show a file or folder with the program that the system uses for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ovrcoat.cli.terminal import print_note
from ovrcoat.system.paths import printable


def show_file(path: Path) -> None:
    """Open a file or folder, without waiting for the viewer; print a note if there is none."""
    target = str(path.resolve())  # absolute, so it cannot be read as an option
    if sys.platform == "win32":
        os.startfile(target)
        return
    program = _opener()
    if program is None:
        print_note(f"note: there is no screen or no viewer to open {printable(path)}")
        return
    subprocess.Popen(
        [program, target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _opener() -> str | None:
    """Return the program that opens files on macOS and Linux."""
    if sys.platform == "darwin":
        return shutil.which("open")
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return shutil.which("xdg-open") if has_screen else None
