"""Rude endings: signals at any moment, killed parents, leftovers of killed runs, streams that are lost."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_samples import put
from dataset_trees import build
from hostile.harness import environment
from ovrcoat.checkpoints import foreign
from ovrcoat.cli import main
from ovrcoat.data.cityscapes_panoptic import prepare_cityscapes
from ovrcoat.errors import CheckpointError
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.signals import begin_work, exit_status, handle_signals
from release_samples import cityscapes
from sample_reports import random_report

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # Python 3.12, if pytest has threads
]
DELAYS = (0, 20, 50, 100, 200, 400, 800)  # milliseconds after the process handles signals
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
# What each verb is run with, in the folder `folder`, and the exit statuses of a run that is not disturbed.
VERBS = {
    "--help": ("--help", 0),
    "--version": ("--version", 0),
    "segment": ("segment photo.png --vocabulary cat;sky#stuff --output out", 0),
    "explain": ("explain photo.png --vocabulary cat;sky#stuff", 0),
    "batch": ("batch photo.png --vocabulary cat;sky#stuff --output rows", 0),
    "evaluate": ("evaluate --data own --root . --output measured --limit 1", 0),
    "score": ("score --task semantic --truth-dir labels --prediction-dir labels --categories 3", 0),
    "compare": ("compare a.json b.json --trust 0", 0),
    "check-data": ("check-data own", 0),
    "train": ("train missing.yaml", 2),
    "prepare": ("prepare cityscapes .", 0),
    "serve": ("serve --port 0", 0),
    "models": ("models", 0),
    "vocabularies": ("vocabularies cityscapes", 0),
    "convert": ("convert missing.pth out.safetensors", 2),
    "doctor": ("doctor", 0),
}


def arguments(verb: str) -> list[str]:
    return VERBS[verb][0].split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an input for every verb."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PICTURE).save("photo.png")
    Path("labels").mkdir()
    Image.fromarray(PICTURE[..., 0] % 3).save("labels/a.png")
    for name, seed in (("a.json", 1), ("b.json", 2)):
        Path(name).write_text(random_report(seed).to_json())
    build("own", tmp_path)
    put(tmp_path / "cityscapes", cityscapes())
    return tmp_path


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch, tiny_segmenter: Segmenter) -> None:
    """Let every model of this process be the tiny network."""
    monkeypatch.setattr(Segmenter, "load", lambda model, **options: tiny_segmenter)


def start(*command: str) -> subprocess.Popen[str]:
    """Start Python in a process group of its own, with signals that are not ignored."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
        preexec_fn=default_signals,  # noqa: PLW1509 - the tests start no threads
    )


def default_signals() -> None:
    """Under `nohup` or in the background of a script, a process inherits ignored signals."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def wait_for_handler(process: subprocess.Popen[str]) -> None:
    """Wait until the process handles SIGHUP, its last signal; before, Python itself starts."""
    status = Path(f"/proc/{process.pid}/status")
    bit = 1 << (signal.SIGHUP - 1)
    for _ in range(20_000):
        caught = next((line for line in status.read_text().splitlines() if line.startswith("SigCgt:")), None)
        if caught is None or int(caught.split()[1], 16) & bit or process.poll() is not None:
            return
        time.sleep(0.001)
    raise AssertionError("the process does not handle signals")


def send(process: subprocess.Popen[str], number: signal.Signals, *, times: int = 1) -> None:
    """Send a signal to the process and its children, unless it has ended."""
    if process.poll() is None:
        send_group(process.pid, number, times=times)


def send_group(leader: int, number: signal.Signals, *, times: int = 1) -> None:
    """Send a signal to all processes of a group, as a terminal does."""
    for _ in range(times):
        with suppress(ProcessLookupError):
            os.killpg(leader, number)
        time.sleep(0.002 if times > 1 else 0)


def assert_polite(process: subprocess.Popen[str], *statuses: int) -> str:
    """Check exit status and stderr; returns stderr."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode in statuses, errors
    for sign in ("Traceback", "Exception ignored", "KeyboardInterrupt", "core dumped"):
        assert sign not in errors, errors
    if process.returncode > 2:
        assert errors.count("error: ") == 1
        assert "error: interrupted" in errors.splitlines()[-1]
    return errors


@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c_at_any_moment(folder: Path, verb: str):
    processes = [start("-m", "ovrcoat", *arguments(verb)) for _ in DELAYS]
    for process in processes:
        wait_for_handler(process)
    began = time.monotonic()
    for delay, process in zip(DELAYS, processes, strict=True):
        time.sleep(max(0.0, delay / 1000 - (time.monotonic() - began)))
        send(process, signal.SIGINT)
    # several `prepare` at once: all but one find the folder in use
    busy = [2] if verb == "prepare" else []
    for process in processes:
        assert_polite(process, 130, VERBS[verb][1], *busy)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ten_signals_in_a_row(folder: Path, number: signal.Signals):
    processes = {verb: start("-m", "ovrcoat", *arguments(verb)) for verb in ("--help", "score", "segment")}
    for verb, process in processes.items():
        wait_for_handler(process)
        send(process, number, times=10)
        assert_polite(process, 128 + number, VERBS[verb][1])


@dataclass(frozen=True)
class Forked:
    """A fork of this process, in which torch is loaded already; it has a process group of its own."""

    pid: int
    output: Path

    def wait(self) -> tuple[int, str]:
        """Wait until it ends; returns its status, negative for a signal, and what it printed."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), self.output.read_text()

    def wait_for_output(self, text: str) -> str:
        for _ in range(6000):
            printed = self.output.read_text()
            if text in printed:
                return printed
            time.sleep(0.01)
        raise AssertionError(f"no {text!r} in {printed}")


def fork(work: Callable[[], int], folder: Path) -> Forked:
    """Run a function in a fork, as the process of the command line would."""
    output = folder / f"output{len(list(folder.glob('output*')))}"
    output.touch()
    pid = os.fork()
    if pid:
        return Forked(pid, output)
    status = 99
    try:
        os.setsid()
        default_signals()
        for stream in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), stream)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))
        handle_signals()
        status = work()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


@pytest.mark.usefixtures("tiny_model")
def test_a_server_that_is_stopped_ends_with_success(folder: Path):
    importlib.import_module("ovrcoat.server.app")  # once, for all forks
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        server = fork(lambda: main(arguments("serve")), folder)
        address = server.wait_for_output("ovrcoat serves nano at http://127.0.0.1:")
        send_group(server.pid, number, times=10)
        assert server.wait() == (0, f"{address}stopped\n")


def test_a_batch_with_workers_is_stopped_by_ten_times_ctrl_c(folder: Path):
    for number in range(6):
        Image.fromarray(PICTURE[:, : 40 + number]).save(folder / f"{number}.png")
    command = ["batch", ".", "--output", "rows", "--workers", "2", "--images-per-file", "1"]
    batch = fork(lambda: main(command), folder)
    workers = wait_for_children(batch.pid, 2)
    time.sleep(0.3)
    send_group(batch.pid, signal.SIGINT, times=10)
    status, printed = batch.wait()
    assert status == 130
    assert "error: interrupted; finished parts are kept in rows" in printed
    assert "Traceback" not in printed
    assert_ended(workers)


WORK = """
import sys, time
from ovrcoat.system.signals import begin_work, end_work, exit_status, handle_signals

class Fragile:
    def __del__(self):
        if waits:
            print("waiting", flush=True)
            time.sleep(20)

handle_signals()
begin_work()
waits = sys.argv[1] == "destructor"
try:
    made = Fragile()
    del made
    if not waits:
        print("waiting", flush=True)
    time.sleep(20)
except KeyboardInterrupt as error:
    if sys.argv[1] == "cleaning":
        time.sleep(0.5)
        print("cleaned")
    end_work()
    sys.exit(exit_status(error))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_further_signals_do_not_disturb_the_cleaning_up(number: signal.Signals):
    process = start("-c", WORK, "cleaning")
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    send(process, number, times=10)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (128 + number, "cleaned\n", "")


INTERRUPTED_EXIT = """
import os, signal
from ovrcoat.system.signals import handle_signals

write = os.write

def write_and_interrupt(stream, text):
    written = write(stream, text)
    signal.raise_signal(signal.SIGTERM)
    return written

os.write = write_and_interrupt
handle_signals()
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_that_interrupts_the_exit_prints_no_second_line():
    """Without work to complete, the first signal ends the process; the second one arrives before it has."""
    process = start("-c", INTERRUPTED_EXIT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "error: interrupted\n")


def test_an_interrupt_in_a_destructor_is_not_lost():
    """Python would print a traceback, drop it and go on."""
    process = start("-c", WORK, "destructor")
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    send(process, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


class Slow(torch.utils.data.Dataset[int]):
    """Samples that take a moment, and tell which process reads them."""

    def __getitem__(self, number: int) -> int:
        time.sleep(0.02)
        return os.getpid()


def load_samples() -> int:
    """Read samples with two workers, as training does."""
    loader = torch.utils.data.DataLoader(Slow(), batch_size=None, sampler=range(10_000), num_workers=2)
    begin_work()
    try:
        for number, process in enumerate(loader):
            if number < 2:
                os.write(1, f"{process} ".encode())
    except KeyboardInterrupt as error:
        return exit_status(error)
    return 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_data_loader_workers_do_not_outlive_their_parent(tmp_path: Path, number: signal.Signals):
    parent = fork(load_samples, tmp_path)
    while len(workers := parent.output.read_text().split()) < 2:
        time.sleep(0.01)
    if number == signal.SIGINT:
        send_group(parent.pid, number, times=10)  # to the workers, too
    else:
        os.kill(parent.pid, number)
    status, printed = parent.wait()
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    assert printed.split() == workers
    assert len(set(workers)) == 2
    assert_ended([int(worker) for worker in workers])


def wait_for_children(parent: int, count: int) -> list[int]:
    """Wait until a process has so many worker processes, and return them with its other children."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    for _ in range(3000):
        children = [int(text) for text in path.read_text().split()]
        if len(children) > count:  # one more tracks their resources
            return children
        time.sleep(0.01)
    raise AssertionError("the workers did not start")


def assert_ended(processes: list[int]) -> None:
    """Check that processes end soon; a worker of torch looks for its parent every five seconds."""
    remaining = list(processes)
    for _ in range(1500):
        remaining = [one for one in remaining if is_running(one)]
        if not remaining:
            return
        time.sleep(0.01)
    raise AssertionError(f"still running: {remaining}")


def is_running(process: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def test_prepare_removes_what_a_killed_run_left(folder: Path):
    home = folder / "cityscapes" / "gtFine"
    maps = home / "cityscapes_panoptic_val"
    maps.mkdir()
    left = [
        home / ".cityscapes_panoptic_val.json.0123456789abcdef0123456789abcdef.part",
        maps / f".{'0' * 32}.part",
        # of another split: no other run can go on, because this one has locked the folder
        home / ".cityscapes_panoptic_train.json.0123456789abcdef0123456789abcdef.part",
    ]
    for path in left:
        path.write_bytes(b"x" * 1000)
    assert prepare_cityscapes(folder).image_count == 1
    assert [path for path in left if path.exists()] == []
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []


def test_convert_removes_what_a_killed_run_left(folder: Path):
    left = folder / ".model.safetensors.0123456789abcdef0123456789abcdef.part"
    other = folder / ".other.safetensors.0123456789abcdef0123456789abcdef.part"
    for path in (left, other):
        path.write_bytes(b"x" * 1000)
    with pytest.raises(CheckpointError, match="there is no file"):
        foreign.convert("missing.pth", folder / "model.safetensors")
    assert not left.exists()
    assert other.exists()


@pytest.mark.parametrize("moment", ["document", "map"])
def test_after_a_kill_prepare_starts_clean(folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str):
    """Killed while the document or a map is complete, but does not have its name yet."""
    replace = Path.replace

    def die(path: Path, target: Path) -> Path:
        if target.suffix == {"document": ".json", "map": ".png"}[moment]:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        killed = fork(lambda: prepare_cityscapes(folder).image_count, folder)
    assert killed.wait() == (-signal.SIGKILL, "")
    home = folder / "cityscapes" / "gtFine"
    assert [path for path in home.rglob(".*.part")] != []
    assert main(["prepare", "cityscapes", str(folder), "--quiet"]) == 0
    assert [path for path in home.rglob(".*")] == []
    assert (home / "cityscapes_panoptic_val.json").exists()


class Lost:
    """Replaces standard streams by what a shell can make of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def full(self, name: str) -> None:
        stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115, PTH123 - closed with its test
        self._monkeypatch.setattr(sys, name, stream)

    def closed(self, name: str) -> None:
        self._monkeypatch.setattr(sys, name, None)

    def gone(self, name: str) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        self._monkeypatch.setattr(sys, name, os.fdopen(writer, "w", encoding="utf-8"))


STREAMS: dict[str, tuple[Callable[[Lost], object], bool]] = {  # how to lose it, and whether a line says so
    "stdout full": (lambda lost: lost.full("stdout"), True),
    "stdout without a reader": (lambda lost: lost.gone("stdout"), False),
    "stdout closed": (lambda lost: lost.closed("stdout"), False),
    "stderr full": (lambda lost: lost.full("stderr"), False),
    "both closed": (lambda lost: (lost.closed("stdout"), lost.closed("stderr")), False),
}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("serve", "doctor")])
@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("tiny_model")
def test_the_work_is_done_without_a_stream(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], streams: str, verb: str
):
    lose, is_told = STREAMS[streams]
    lose(Lost(monkeypatch))
    status = main(arguments(verb))
    expected = VERBS[verb][1]
    if streams in ("stdout full", "stdout without a reader"):
        assert status in (max(1, expected), expected)
    else:
        assert status == expected
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) <= 1
    assert not any("Traceback" in line for line in errors)
    if is_told and status == 1:
        assert errors == ["error: cannot write to stdout: No space left on device"]
    written = {
        "segment": "out/panoptic.json",
        "evaluate": "measured/report.json",
        "batch": "rows/run.json",
        "prepare": "cityscapes/gtFine/cityscapes_panoptic_val.json",
    }
    if verb in written:
        assert json.loads((folder / written[verb]).read_text())


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path, redirection: str):
    """A library that prints would otherwise write into it."""
    script = """
import os, sys
from ovrcoat.cli.streams import safe_streams
with safe_streams():
    number = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    os.write(1, b"one")
    os.write(2, b"two")
sys.exit(number)
"""
    command = f'exec "$0" -c "$1" "$2" {redirection}'
    path = tmp_path / "file"
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, script, path],
        capture_output=True,
        check=False,
        env=environment(),
    )
    assert done.returncode > 2
    assert path.read_bytes() == b""
