"""Compilation of the image branch: equal results, and clear errors where it is impossible."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ovrcoat.errors import ConfigError
from ovrcoat.model.compiling import compile_image_branch
from ovrcoat.structures import ImageBatch
from tiny_network import make_network

TESTS = Path(__file__).parents[2]
# In a process of its own: the tests' checks of types and shapes cannot be compiled. The back end "eager" runs
# what was traced; the code generator would take half a minute.
COMPARE = """
import functools, torch
torch.compile = functools.partial(torch.compile, backend="eager")
from ovrcoat.model.compiling import compile_image_branch
from ovrcoat.structures import ImageBatch
from tiny_network import make_network

plain, compiled = make_network(ARGUMENTS).eval(), make_network(ARGUMENTS).eval()
compile_image_branch(compiled)
assert compiled.compiled and not plain.compiled
assert compiled.state_dict().keys() == plain.state_dict().keys()
close = functools.partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)
with torch.inference_mode():
    for size in ((64, 96), (96, 64), (128, 96)):
        batch = ImageBatch(torch.rand(2, 3, *size) * 255, valid_sizes=(size, size))
        expected, found = plain(batch), compiled(batch)
        close(found.proposals.mask_logits, expected.proposals.mask_logits)
        close(found.clip.embeddings, expected.clip.embeddings)
print("equal")
"""


@pytest.mark.parametrize("arguments", ["", "selected_queries=4", "selected_queries=4, local_masks=True"])
def test_results_are_equal(arguments: str):
    script = COMPARE.replace("ARGUMENTS", arguments)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=TESTS, capture_output=True, text=True, check=False
    )
    assert done.stdout == "equal\n", done.stderr


def test_without_a_compiler_the_error_names_the_remedy(monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none_there():
        raise InvalidCxxCompiler("g++")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none_there)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler.*omit --compile"):
        compile_image_branch(make_network())


@torch.inference_mode()
def test_a_failing_compiler_is_reported(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no Python.h")

    compile_for_real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compile_for_real(function, backend=broken))
    network = make_network().eval()
    compile_image_branch(network)
    with pytest.raises(
        ConfigError, match=r"cannot compile this model on this machine \(no Python\.h\); omit --compile"
    ):
        network(ImageBatch(torch.rand(1, 3, 64, 96) * 255, valid_sizes=((64, 96),)))
