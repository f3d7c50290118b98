"""`ovrcoat serve`: a web page and an API for segmentation."""

import os
import threading
import webbrowser
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ovrcoat.cli.options import SourceOptions
from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_line, print_note
from ovrcoat.errors import ConfigError
from ovrcoat.server.addresses import allowed_hosts, is_loopback
from ovrcoat.system.optional_imports import import_optional

if TYPE_CHECKING:
    from ovrcoat.segmentation.segmenter import Segmenter

TOKEN_VARIABLE = "OVRCOAT_TOKEN"


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOptions:
    """Address and access."""

    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own (127.0.0.1, localhost, ::1) needs a token."""

    port: int = 8000
    """Port to listen on; 0 chooses a free one."""

    token: str | None = None
    """Secret that clients have to send; better given by the environment variable OVRCOAT_TOKEN."""

    allow_origin: Annotated[list[str] | None, Parameter(negative="")] = None
    """Web site whose pages may use the API, such as https://example.org; can be repeated."""

    open: Annotated[bool, Parameter(negative="")] = False
    """Open the page in the browser."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModelOptions:
    """Model and hardware."""

    model: str = "nano"
    """A name listed by `ovrcoat models`, or the path of a .safetensors file."""

    device: str | None = None
    """cpu, cuda, cuda:1 or mps. [default: the fastest available]"""

    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Dtype of the masks; auto: bfloat16 where the hardware supports it (faster, slightly less accurate)."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """Limits."""

    max_upload_bytes: int = 32 << 20
    """Largest image file."""

    max_pixels: int = 50_000_000
    """Largest image, width × height."""

    max_class_names: int = 2_000
    """Most names in a vocabulary, synonyms included; presets are exempt."""

    max_name_length: int = 200
    """Most characters of a class name."""

    queue_size: int = 8
    """Requests that may wait; further ones receive status 429."""

    request_seconds: float = 120.0
    """Time limit of a request."""

    cache_bytes: int = 1 << 30
    """Memory for encoded images."""

    cache_seconds: float = 600.0
    """Time after its last use until an encoded image is removed."""


def serve(
    *,
    address: AddressOptions = AddressOptions(),
    model: ServedModelOptions = ServedModelOptions(),
    parts: SourceOptions = SourceOptions(),  # noqa: B008 - frozen
    limits: LimitOptions = LimitOptions(),
) -> int:
    """Serve a web page and an API for segmentation, until Ctrl-C."""
    import_optional("fastapi", extra="serve")
    token = _checked_token(address)
    _check_limits(limits)
    with heavy_imports():
        from ovrcoat.server.app import create_app
        from ovrcoat.server.listening import make_server, open_socket, url_of
        from ovrcoat.server.settings import ServerSettings
    settings = ServerSettings(
        token=token,
        allowed_hosts=allowed_hosts(address.host),
        allowed_origins=tuple(address.allow_origin or ()),
        max_upload_bytes=limits.max_upload_bytes,
        max_pixels=limits.max_pixels,
        max_class_names=limits.max_class_names,
        max_name_length=limits.max_name_length,
        queue_size=limits.queue_size,
        request_seconds=limits.request_seconds,
        cache_bytes=limits.cache_bytes,
        cache_seconds=limits.cache_seconds,
    )
    with open_socket(address.host, address.port) as listener:
        url = url_of(listener, address.host)
        names, masks = parts.resolve(model.model)
        name = Path(names).stem if masks is None else parts.describe(model.model)
        app = create_app(_load(model, parts), model=name, settings=settings)

        def report() -> None:
            print_line(f"ovrcoat serves {name} at {url} (Ctrl-C stops it)")
            if address.open:
                fragment = f"/#token={token}" if token else ""
                threading.Thread(target=webbrowser.open, args=(url + fragment,), daemon=True).start()

        server = make_server(app, grace_seconds=settings.request_seconds, on_ready=report)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # raised after the shutdown: this is how a server ends
            print_note("stopped")
    return 0


def _load(model: ServedModelOptions, sources: SourceOptions) -> "Segmenter":
    """Load the model and the source of masks.

    Raises:
        OvrcoatError: one of them cannot be used, or the masks are in files.
    """
    from ovrcoat.segmentation.segmenter import Segmenter

    names, masks = sources.resolve(model.model)
    segmenter = Segmenter.load(names, masks=masks, device=model.device, dtype=model.dtype)
    if segmenter.mask_files is not None:
        raise ConfigError(
            f"--masks {masks} holds masks in files, which are found by the name of an image, but an uploaded "
            "image has none; give a model, or use ovrcoat segment"
        )
    return segmenter.with_settings(classify_by=sources.classify_by)


def _checked_token(address: AddressOptions) -> str | None:
    """Return the token; it is required if other machines can reach the server.

    Raises:
        ConfigError: it is missing or cannot be sent in a header.
    """
    token = address.token or os.environ.get(TOKEN_VARIABLE) or None
    if token is None and not is_loopback(address.host):
        raise ConfigError(
            f"a server on {address.host!r} can be reached by other machines, so it needs a token: set the "
            f"environment variable {TOKEN_VARIABLE} to a secret, or leave out --host"
        )
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(
            "the token contains spaces, control characters or characters outside of ASCII; clients send it "
            "in a header, so choose one of letters, digits and punctuation"
        )
    return token


def _check_limits(limits: LimitOptions) -> None:
    """Raise a `ConfigError` if a limit is not positive."""
    for field in fields(limits):
        value, lowest = getattr(limits, field.name), 0 if field.name == "queue_size" else 1
        if not value >= lowest:  # this form also rejects NaN
            option = field.name.replace("_", "-")
            raise ConfigError(f"--{option} is {value}, expected {lowest} or more")
