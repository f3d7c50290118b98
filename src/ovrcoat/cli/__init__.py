"""The command line: parsing and printing only. One file per verb; torch is imported when a verb needs it.

Exit status: 0 success; 1 some of the work failed; 2 nothing was done (usage, vocabulary, model, output
folder); 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from ovrcoat._version import __version__
from ovrcoat.cli.signals import exit_status, termination_as_interrupt
from ovrcoat.cli.streams import safe_streams
from ovrcoat.cli.terminal import print_error, warnings_as_lines
from ovrcoat.cli.usage import normalized, renamed_option, usage_message
from ovrcoat.errors import OvrcoatError

app = App(
    name="ovrcoat",
    help="Open-vocabulary panoptic segmentation: segment images into the classes of any vocabulary.",
    version=__version__,
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,  # `run` reports it
)
# Each verb is a function in a module of the same name, which is imported when it is called. The texts are the
# docstrings of the functions (a test compares them), so that the list of verbs needs no import.
VERBS = {
    "segment": "Segment images into the classes of your vocabulary.",
    "explain": "Explain for one image why each mask of the model is a segment or was rejected.",
    "batch": (
        "Segment many images into Parquet files; if it was interrupted, repeat the command to continue."
    ),
    "evaluate": (
        "Measure a model on labeled images: PQ, mIoU, mask AP, and an error analysis.\n\n"
        "If it was interrupted, run the same command again to resume."
    ),
    "score": "Score predictions in files like the published evaluation code, after checking the files.",
    "compare": (
        "Show the differences between run A and run B, with 95 % bootstrap intervals over the images."
    ),
    "check_data": (
        "Check labels, predictions and results for issues that would make scores meaningless.\n\n"
        "The exit status is 1 if there are errors."
    ),
    "train": (
        "Train a model from a YAML configuration (see configs/ and docs/training.md).\n\n"
        "To continue an interrupted run, repeat the command: training resumes from the last saved "
        "state, with the same result. For several GPUs or machines, use torchrun ... -m ovrcoat "
        "train ... or accelerate launch ... -m ovrcoat train ...."
    ),
    "prepare": (
        "Create the panoptic files that the releases of ADE20K and Cityscapes lack; rerun it to resume."
    ),
    "serve": "Serve a web page and an API for segmentation, until Ctrl-C.",
    "models": (
        "List the models that --model and --masks accept by name, and how to install those that are missing."
    ),
    "vocabularies": "List the vocabularies that come with the package, or show the categories of one.",
    "convert": "Convert a published FC-CLIP, OVRCOAT or MAFT+ file to one that segment --model accepts.",
    "doctor": (
        "Check the installation: versions, devices, models and folders; say how to fix what is missing.\n\n"
        "The exit status is 1 if something that is required does not work."
    ),
}
for verb, text in VERBS.items():
    app.command(f"ovrcoat.cli.{verb}:{verb}", name=verb.replace("_", "-"), help=text)


@app.meta.default
def run(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Annotated[bool, Parameter(negative="")] = False,
) -> int | None:
    """Run one verb; returns its exit status, or None after a help page.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    try:
        with termination_as_interrupt():
            return app(tokens)
    except OvrcoatError as error:
        if debug:
            traceback.print_exc()
        print_error(str(error))
        return 2
    except KeyboardInterrupt as error:
        print_error("interrupted")
        return exit_status(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: those of the process); returns the exit status.

    The status is at least 1 if output on stdout was lost.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    with safe_streams() as (stdout, _), warnings_as_lines(quiet="--quiet" in tokens):
        status = _run(tokens)
        stdout.flush()
        if stdout.error is not None and not isinstance(stdout.error, BrokenPipeError):
            print_error(f"cannot write to stdout: {getattr(stdout.error, 'strerror', None) or stdout.error}")
    return max(status, int(stdout.error is not None))


def _run(tokens: list[str]) -> int:
    if (renamed := renamed_option(tokens)) is not None:
        print_error(renamed)
        return 2
    try:
        return app.meta(normalized(tokens)) or 0
    except CycloptsError as error:
        print_error(usage_message(error, tokens))
        return 2
