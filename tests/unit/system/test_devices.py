import warnings

import pytest
import torch

from ovrcoat.errors import ConfigError
from ovrcoat.system.devices import choose_device, choose_dtype, list_devices


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("two_cards")
def test_cuda_comes_first() -> None:
    assert list_devices() == ("cuda:0", "cuda:1", "cpu")
    assert choose_device() == torch.device("cuda:0")


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize("name", ["cuda:1", 1, "1", torch.device("cuda", 1), " CUDA:1 "])
def test_names_of_the_second_card(name: str | int | torch.device) -> None:
    assert choose_device(name) == torch.device("cuda:1")


@pytest.mark.usefixtures("apple")
def test_then_mps() -> None:
    assert choose_device() == torch.device("mps")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("plain")
def test_then_the_cpu() -> None:
    assert choose_device() == torch.device("cpu")


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize("name", ["cuda:2", 7, "gpu", "meta", ""])
def test_a_device_that_is_not_there(name: str | int) -> None:
    with pytest.raises(
        ConfigError, match=f"no device '{name}' on this machine; available: cuda:0, cuda:1, cpu"
    ):
        choose_device(name)


@pytest.mark.usefixtures("plain")
def test_a_slip_of_the_pen() -> None:
    with pytest.raises(ConfigError, match=r"available: cpu; did you mean 'cpu'\?"):
        choose_device("cpi")


def test_emulated_bfloat16_warns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ovrcoat.system.devices.has_bfloat16", lambda device: False)
    cpu = torch.device("cpu")
    with pytest.warns(UserWarning, match=r"bfloat16 is emulated on cpu: .* Use float32"):
        assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_dtype("auto", cpu) == torch.float32
        assert choose_dtype("float32", cpu) == torch.float32
