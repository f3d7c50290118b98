"""Addresses of encoders with OpenCLIP's weights in a file, such as "openclip:ViT-B-16=vit.safetensors".

Such an encoder has no decoders, so it names masks and proposes none.
"""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ovrcoat.errors import ConfigError
from ovrcoat.system.paths import expand_user, is_file, printable

PREFIX = "openclip:"


def is_encoder_address(model: str | PathLike[str]) -> bool:
    """Return whether a model is given as an encoder and the file of its weights."""
    return str(model).startswith(PREFIX)


def encoder_name(address: str) -> str:
    """Return the name in the address of an encoder."""
    return address.removeprefix(PREFIX).partition("=")[0]


@dataclass(frozen=True, slots=True)
class EncoderFile:
    """An encoder, and the file of its weights.

    Attributes:
        name: OpenCLIP's name of the encoder.
        path: file with OpenCLIP's weights.
    """

    name: str
    path: Path

    @classmethod
    def parse(cls, address: str | PathLike[str]) -> "EncoderFile":
        """Read an address.

        Raises:
            ConfigError: it has another form, or there is no such file.
        """
        text = str(address)
        name, file = encoder_name(text), text.partition("=")[2]
        if not name or not file:
            raise ConfigError(
                f"{printable(text)!r} is not the address of an encoder; expected {PREFIX}NAME=FILE, with a "
                "name of `ovrcoat models --encoders` and a file of OpenCLIP's weights"
            )
        path = expand_user(file)
        if not is_file(path):
            raise ConfigError(
                f"there is no file {printable(file)}; give a file with OpenCLIP's weights of {name}"
            )
        return cls(name, path)
