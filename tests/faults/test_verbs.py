"""Verbs that write, under faults: kills, a full or damaged disk, the clock, leftovers of a crash."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from verbs import ADE20K, VERBS, copy_inputs, use_tiny_models

from ovrcoat.errors import OutputError, OvrcoatError, TrainingError
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.folder_lock import FolderLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
# steps of writing that a run has at least: fewer would mean that the harness does not see them
STEPS = {"segment": 50, "evaluate": 60, "train": 30, "prepare": 20}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_disturbed_before_every_step_the_next_start_completes(name: str, tmp_path: Path):
    """After each kill and each error, the results are those of an undisturbed run, without leftovers."""
    script = Path(__file__).with_name("kill_points.py")
    run = subprocess.run(
        [sys.executable, str(script), name, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr
    outcome = json.loads(run.stdout)
    assert outcome["problems"] == []
    assert outcome["steps"] >= STEPS[name]
    assert outcome["second kills"] >= STEPS[name] // 6
    assert outcome["disk full"] >= 2
    assert outcome["i/o error"] >= 2


@pytest.fixture(autouse=True)
def _tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segmenter, "load", Segmenter.load)  # restored after the test
    use_tiny_models()


@pytest.fixture
def work(name: str, tmp_path: Path) -> Path:
    VERBS[name].prepare(tmp_path / "work")
    return tmp_path / "work"


names = pytest.mark.parametrize("name", VERBS)


def locked_folder(name: str, work: Path) -> Path:
    """Where a verb takes its lock."""
    return work / "out" / ADE20K if name == "prepare" else work / "out"


@names
def test_the_output_of_another_process_is_refused(name: str, work: Path):
    folder = locked_folder(name, work)
    folder.mkdir(exist_ok=True)
    before = sorted(folder.rglob("*"))
    with (
        FolderLock(folder),
        pytest.raises(OutputError, match=rf"is in use by process {os.getpid()} on \S+: wait"),
    ):
        VERBS[name].run(work)
    assert sorted(folder.rglob("*")) == before
    VERBS[name].run(work)
    assert VERBS[name].results(work)


@names
def test_files_of_an_earlier_crash_do_no_harm(name: str, work: Path, tmp_path: Path):
    """Temporary files, locks of a process that has ended, and a name that a user could have given."""
    copy_inputs(work, tmp_path / "undisturbed")
    VERBS[name].run(tmp_path / "undisturbed")
    expected = VERBS[name].results(tmp_path / "undisturbed")
    folders = [locked_folder(name, work)]
    folders += [folder / "ade20k_panoptic_val" for folder in folders if name == "prepare"]
    folders += [folder / "one" for folder in folders if name == "train"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{'0a' * 16}.part").write_bytes(b"half of a file")
    (folders[-1] / f".model.safetensors.{'0a' * 16}.part").write_bytes(b"half of a file")
    (folders[0] / ".ovrcoat.lock").touch()
    (folders[0] / ".ovrcoat.owner").write_text("process 4194304 on elsewhere")
    (folders[0] / "my.part").write_bytes(b"of a user")
    VERBS[name].run(work)
    results = VERBS[name].results(work)
    mine = str((folders[0] / "my.part").relative_to(work))
    assert results.pop(mine) == b"of a user"
    assert results == expected


@names
def test_nothing_is_lost_or_done_twice_when_the_clock_is_turned_back(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch
):
    """Inputs and results from the future: a second run changes no result."""
    tomorrow = time.time() + 86_400
    for path in work.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    VERBS[name].run(work)
    for path in (work / "out").rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    expected = VERBS[name].results(work)
    for clock in ("time", "time_ns"):
        earlier = getattr(time, clock)
        monkeypatch.setattr(time, clock, lambda earlier=earlier: earlier() // 2)
    VERBS[name].run(work)
    assert VERBS[name].results(work) == expected


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize(
    ("name", "file", "damage", "message"),
    [
        ("segment", "panoptic.json", None, None),
        ("segment", "panoptic.json", b"", "was not written by ovrcoat"),
        ("segment", ".panoptic.json.journal", b'{"format"', None),
        ("segment", ".panoptic.json.part", b'{"categories', None),
        ("evaluate", "journal.jsonl", b"", None),
        ("evaluate", "journal.jsonl", None, r"not a journal of this version.*--overwrite"),
        ("evaluate", "report.json", b"", "was not written by ovrcoat"),
        ("train", "one/state.pt", None, None),  # the stage is complete and needs no state
        ("train", "one/settings.json", b"", "is not valid JSON"),
        ("prepare", f"{ADE20K}/ade20k_instance_val.json", None, None),
        ("prepare", f"{ADE20K}/ade20k_panoptic_val/ADE_val_00000001.png", None, None),
    ],
)
def test_half_written_files(name: str, file: str, damage: bytes | None, message: str | None, work: Path):
    """Contents that a power failure leaves: the verb uses what is complete, or says what is wrong."""
    VERBS[name].run(work)
    path = work / "out" / file
    if damage is None:
        cut(path)
    else:
        path.write_bytes(damage)
    with nullcontext() if message is None else pytest.raises(OvrcoatError, match=message):
        VERBS[name].run(work)


@pytest.mark.parametrize("name", ["evaluate"])
def test_a_journal_whose_last_line_was_cut_off_is_continued(name: str, work: Path):
    VERBS[name].run(work)
    expected = VERBS[name].results(work)
    cut(work / "out/journal.jsonl", share=0.99)
    VERBS[name].run(work)
    assert VERBS[name].results(work) == expected
    report = json.loads((work / "out/report.json").read_text())
    assert report["timing"]["resumed_images"] == 1


@pytest.mark.parametrize("name", ["train"])
def test_a_truncated_state_is_reported_and_can_be_deleted(name: str, work: Path):
    VERBS[name].run(work)
    expected = VERBS[name].results(work)
    state = work / "out/one/state.pt"
    (work / "out/one/model.safetensors").unlink()
    cut(state)
    with pytest.raises(TrainingError, match=r"state\.pt cannot be read \(\w+\); delete it to restart"):
        VERBS[name].run(work)
    state.unlink()
    VERBS[name].run(work)
    assert VERBS[name].results(work) == expected


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(os, "geteuid"), reason="needs a tmpfs of Linux")
@pytest.mark.parametrize("name", ["segment", "evaluate", "train"])
def test_a_small_disk_that_is_full(name: str, work: Path, tmp_path: Path):
    """A real file system without space, after which there is more: the run continues."""
    disk = work / "out"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mount.stderr.strip()}")
    try:
        (disk / "filler").write_bytes(b"\0" * (40 << 10))
        with pytest.raises(OutputError, match="No space left on device"):
            VERBS[name].run(work)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        (disk / "filler").unlink()
        VERBS[name].run(work)
        results = VERBS[name].results(work)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    copy_inputs(work, tmp_path / "undisturbed")
    VERBS[name].run(tmp_path / "undisturbed")
    assert results == VERBS[name].results(tmp_path / "undisturbed")
