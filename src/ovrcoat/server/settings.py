"""Limits and access rules of a server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of a server. The values of `ovrcoat serve` are the defaults.

    Attributes:
        max_upload_bytes: size of an uploaded image file.
        max_request_bytes: size of a JSON document, class names included.
        max_pixels: width × height of an image, checked before it is decoded.
        max_class_names: number of names in a vocabulary or in the background classes, synonyms included.
            Presets are exempt.
        max_name_length: characters of a class name.
        queue_size: requests that may wait while another one is computed; further ones receive status 429.
        request_seconds: time limit of a request, from its first byte until its response is computed.
        cache_bytes: memory for encoded images, on the device and on the host together.
        cache_seconds: an encoded image is removed this long after its last use.
        token: secret that clients have to send. None: no token is required.
        allowed_hosts: accepted host names of the `Host` header, without port. Empty: any.
        allowed_origins: other web sites whose pages may use the API, such as "https://example.org".
    """

    max_upload_bytes: int = 32 << 20
    max_request_bytes: int = 1 << 20
    max_pixels: int = 50_000_000
    max_class_names: int = 2_000
    max_name_length: int = 200
    queue_size: int = 8
    request_seconds: float = 120.0
    cache_bytes: int = 1 << 30
    cache_seconds: float = 600.0
    token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: tuple[str, ...] = ()
