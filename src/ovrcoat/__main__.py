"""`ovrcoat` and `python -m ovrcoat`: the command line as a process."""

import os
import sys


def main() -> int:
    """Run the command line on the arguments of the process; returns the exit status."""
    from ovrcoat.cli import main as run

    status = run()  # it flushes the standard streams
    if "segment" in sys.argv[1:3]:
        # all files are closed: nothing is lost by skipping the quarter of a second that unloading torch takes
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
