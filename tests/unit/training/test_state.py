from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ovrcoat.errors import OutputError, TrainingError
from ovrcoat.training.state import ParameterAverage, check_settings, resume, save_state


class Run:
    """A parameter, its optimizer and its average."""

    def __init__(self, *shape: int, settings: Mapping[str, Any] | None = None) -> None:
        self.parameters = {"weight": nn.Parameter(torch.ones(*shape))}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=0.1)
        self.average = ParameterAverage(self.parameters, decay=0.5)
        self.settings = settings or {"schedule": {"steps": 4}, "seed": 0}

    def step(self) -> None:
        self.parameters["weight"].square().sum().backward()
        self.optimizer.step()
        self.average.update(self.parameters)

    def save(self, path: Path, step: int) -> None:
        save_state(
            path, self.parameters, self.optimizer, step=step, settings=self.settings, average=self.average
        )

    def resume(self, path: Path) -> int:
        return resume(path, self.parameters, self.optimizer, settings=self.settings, average=self.average)


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path):
    path = tmp_path / "state.pt"
    straight, resumed = Run(3), Run(3)
    assert resumed.resume(path) == 0
    straight.step()
    straight.save(path, 1)
    assert resumed.resume(path) == 1
    for run in (straight, resumed):
        run.optimizer.zero_grad()
        run.step()
    assert torch.equal(straight.parameters["weight"], resumed.parameters["weight"])
    assert torch.equal(straight.average.values["weight"], resumed.average.values["weight"])


def test_the_moving_average():
    run = Run(2)
    with torch.no_grad():
        run.parameters["weight"].fill_(3.0)
    run.average.update(run.parameters)
    assert run.average.values["weight"].tolist() == [2.0, 2.0]
    run.average.copy_to(run.parameters)
    assert run.parameters["weight"].tolist() == [2.0, 2.0]


def test_other_settings_are_refused_naming_what_differs(tmp_path: Path):
    path = tmp_path / "state.pt"
    Run(2).save(path, 1)
    other = Run(2, settings={"schedule": {"steps": 9}, "seed": 0})
    with pytest.raises(
        TrainingError, match=r"other settings \(schedule\.steps: 4 then, 9 now\); restore the old settings"
    ):
        other.resume(path)


def test_a_message_names_a_few_differences_and_counts_the_rest():
    then, now = ({"data": [{"path": f"{kind}{number}"} for number in range(6)]} for kind in "ab")
    with pytest.raises(TrainingError, match=r"data\.0\.path: 'a0' then, 'b0' now, .* and 2 more\)"):
        check_settings(Path("x"), then, now)
    check_settings(Path("x"), then, {**then, "unheard of": 1})


def test_a_setting_that_only_one_version_knows_is_no_difference_if_it_is_off():
    then = {"ovr": {"weight": 0.1}}
    more = {"ovr": {"weight": 0.1, "compensation": 0.0, "image_names": None}}
    check_settings(Path("x"), then, more)
    check_settings(Path("x"), more, then)
    with pytest.raises(TrainingError, match=r"ovr\.compensation: None then, 0\.1 now"):
        check_settings(Path("x"), then, {"ovr": {"weight": 0.1, "compensation": 0.1}})
    with pytest.raises(TrainingError, match=r"ovr\.compensation: 0\.1 then, None now"):
        check_settings(Path("x"), {"ovr": {"weight": 0.1, "compensation": 0.1}}, then)
    with pytest.raises(TrainingError, match=r"ovr\.weight: 0\.1 then, 0\.0 now"):
        check_settings(Path("x"), then, {"ovr": {"weight": 0.0}})
    with pytest.raises(TrainingError, match=r"ovr\.weight: None then, 0\.1 now"):
        check_settings(Path("x"), {"ovr": None}, then)
    with pytest.raises(TrainingError, match=r"ovr\.weight: 0\.1 then, None now"):
        check_settings(Path("x"), then, {"ovr": None})


def test_settings_under_former_names_are_recognized():
    check_settings(Path("x"), {"schedule": {"clip_norm": 1.0}}, {"schedule": {"max_grad_norm": 1.0}})
    with pytest.raises(TrainingError, match=r"schedule\.max_grad_norm: 1\.0 then, 0\.1 now"):
        check_settings(Path("x"), {"schedule": {"clip_norm": 1.0}}, {"schedule": {"max_grad_norm": 0.1}})


@pytest.mark.parametrize("other", [(3,), (2, 1)])
def test_another_network_is_refused(tmp_path: Path, other: tuple[int, ...]):
    path = tmp_path / "state.pt"
    Run(2).save(path, 1)
    with pytest.raises(
        TrainingError, match=r"belongs to another network; choose another output folder, or delete"
    ):
        Run(*other).resume(path)


def test_a_damaged_file_and_another_format_are_refused(tmp_path: Path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"no state")
    with pytest.raises(TrainingError, match=r"cannot be read \(.*\); delete it to restart this stage"):
        Run(2).resume(path)
    torch.save({"format": 7}, path)
    with pytest.raises(TrainingError, match=r"has format 7, this version reads 2"):
        Run(2).resume(path)


def test_nothing_in_a_state_is_run(tmp_path: Path):
    path, trap = tmp_path / "state.pt", tmp_path / "trap"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    torch.save({"format": 2, "step": Trap()}, path)
    with pytest.raises(TrainingError, match="cannot be read"):
        Run(2).resume(path)
    assert not trap.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot write"):
        Run(2).save(tmp_path / "missing" / "state.pt", 1)


def with_data(fingerprint: str, *, images: int = 4, path: str = "mine", **more: Any) -> dict[str, Any]:
    data = {"path": path, "root": None, **more}
    return {"data": [data], "datasets": [{"name": "mine", "images": images, "fingerprint": fingerprint}]}


def test_changed_data_is_refused_naming_the_dataset():
    message = (
        r"x: the training data has changed since \(mine: 4 images then, 6 now\)\. Restore the data, choose"
    )
    with pytest.raises(TrainingError, match=message):
        check_settings(Path("x"), with_data("a"), with_data("b", images=6))
    message = r"\(mine: the labels or images of its 4 images were changed\)"
    with pytest.raises(TrainingError, match=message):
        check_settings(Path("x"), with_data("a"), with_data("b"))
    check_settings(Path("x"), with_data("a"), with_data("b"), accept_changed_data=True)


def test_data_may_be_moved_if_its_content_is_known():
    check_settings(Path("x"), with_data("a", path="/old/mine"), with_data("a", path="mine", root="/r"))
    older = {"data": [{"path": "/old/mine", "root": None}]}  # a state of an earlier version
    check_settings(Path("x"), older, with_data("a", path="/old/mine"))
    with pytest.raises(TrainingError, match=r"data\.0\.path: '/old/mine' then, 'mine' now"):
        check_settings(Path("x"), older, with_data("a"))


def test_further_processes_leave_the_comparison_of_data_to_the_main_one():
    check_settings(Path("x"), with_data("a"), {**with_data("b", path="elsewhere"), "datasets": None})


def test_damaged_images_may_be_skipped_from_now_on():
    check_settings(Path("x"), with_data("a", on_error="raise"), with_data("a", on_error="skip"))
    check_settings(Path("x"), with_data("a"), with_data("a", on_error="skip"))
