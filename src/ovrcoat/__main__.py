"""`ovrcoat` and `python -m ovrcoat`: the command line as a process."""

import os
import sys

from ovrcoat.system.signals import end_work, exit_status, handle_signals


def main() -> int:
    """Run the command line on the arguments of the process; returns the exit status."""
    handle_signals()
    try:
        from ovrcoat.cli import main as run

        status = run()  # it flushes the standard streams
    except KeyboardInterrupt as error:  # at the very end of `run`
        status = exit_status(error)
    end_work()
    if "segment" in sys.argv[1:3]:
        # all files are closed: nothing is lost by skipping the quarter of a second that unloading torch takes
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
