import pytest
import torch

from ovrcoat.system.devices import list_devices
from tool_modules import load_tool


def test_all_measurements_run_on_the_cpu(capsys: pytest.CaptureFixture[str]):
    check = load_tool("gpu_check")
    arguments = ["--device", "cpu", "--batch-sizes", "2", "--size", "64", "--seconds", "0.01"]
    assert check.main(arguments) == 0
    out = capsys.readouterr().out
    assert "float32                    0.000%                   0.00e+00" in out
    assert "TOO FAR" not in out
    assert " nan\n" not in out
    assert out.count("images/s complete") == 3
    assert out.count(" s, loss ") == 2


@pytest.mark.skipif(len(list_devices()) > 1, reason="this machine has a GPU")
def test_a_machine_without_a_gpu_gets_one_line(capsys: pytest.CaptureFixture[str]):
    assert load_tool("gpu_check").main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "--device cpu" in captured.err


def test_an_unknown_device_is_an_error(capsys: pytest.CaptureFixture[str]):
    assert load_tool("gpu_check").main(["--device", "cuda:99"]) == 2
    assert "available:" in capsys.readouterr().err


def test_a_difference_is_measured():
    check = load_tool("gpu_check")
    segmenter, image = check.load_nano(torch.device("cpu")), check.sample_image(64)
    other = check.load_nano(torch.device("cpu"))
    other.network.mask_decoder.mask_head.layers[-1].weight.data.mul_(-1)
    found = check.difference(other, segmenter, image)
    assert found.mask_probability > check.LIMITS["bfloat16"]
    assert found.pixels > 0
