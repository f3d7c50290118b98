import pytest

from ovrcoat.checkpoints.hub import HubAddress
from ovrcoat.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://ours/nano", HubAddress("ours/nano")),
        ("hf://ours/nano@v1.0", HubAddress("ours/nano", revision="v1.0")),
        ("hf://ours/nano/nano.safetensors", HubAddress("ours/nano", "nano.safetensors")),
        ("hf://a/b/c/d.safetensors@refs/pr/1", HubAddress("a/b", "c/d.safetensors", "refs/pr/1")),
    ],
)
def test_addresses_are_read_and_written(text: str, address: HubAddress):
    assert HubAddress.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://owner",
        "hf://owner/",
        "hf:///repo",
        "hf://owner/repo@",
        "hf://owner/repo/../../secret",
        "hf://owner/repo//file",
        "hf://../repo",
        "hf://owner/repo/file?x=1",
        "hf://own er/repo",
        "hf://owner/repo/\x1b[31m",
        "https://huggingface.co/owner/repo",
    ],
)
def test_other_addresses_are_refused(text: str):
    with pytest.raises(ConfigError, match="is not an address on the Hugging Face Hub"):
        HubAddress.parse(text)
