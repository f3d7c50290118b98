"""The command line: parsing and printing only. One file per verb; torch is imported when a verb needs it.

Exit status: 0 all good; 1 some of the work failed; 2 nothing was done (usage, words, model, output folder);
130 interrupted.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from ovrcoat._version import __version__
from ovrcoat.cli.check_data import check_data
from ovrcoat.cli.compare import compare
from ovrcoat.cli.convert import convert
from ovrcoat.cli.doctor import doctor
from ovrcoat.cli.evaluate import evaluate
from ovrcoat.cli.models import models
from ovrcoat.cli.prepare import prepare
from ovrcoat.cli.score import score
from ovrcoat.cli.segment import segment
from ovrcoat.cli.terminal import complain
from ovrcoat.cli.train import train
from ovrcoat.cli.vocabularies import vocabularies
from ovrcoat.errors import OvrcoatError

app = App(
    name="ovrcoat",
    help="Open-vocabulary panoptic segmentation: a photo and any words in, named segments out.",
    version=__version__,
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,  # `run` has its own words for it
)
for verb in (
    segment,
    evaluate,
    score,
    compare,
    check_data,
    train,
    prepare,
    models,
    vocabularies,
    convert,
    doctor,
):
    app.command(verb)


@app.meta.default
def run(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Annotated[bool, Parameter(negative="")] = False,
) -> int | None:
    """Run one verb; its status, or None after a help page.

    Parameters
    ----------
    debug
        Show where an error comes from (the traceback).
    """
    try:
        return app(tokens)
    except OvrcoatError as error:
        if debug:
            traceback.print_exc()
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: those of the process); returns the exit status."""
    if hasattr(sys.stdout, "reconfigure"):
        # a file name or a word that the terminal's encoding lacks is shown escaped instead of ending the run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return app.meta(list(sys.argv[1:] if arguments is None else arguments)) or 0
    except CycloptsError as error:
        complain(f"{' '.join(str(error).split())} See: ovrcoat --help")
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough: the work may be unfinished
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush complains
        return 1
