"""What applies to every request: access rules, size and time limits, security headers.

These are plain ASGI functions: they see a request before its body is read.
"""

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovrcoat.server.api_errors import ApiError, error_response
from ovrcoat.server.settings import ServerSettings

UPLOAD_PATHS = ("/v1/images", "/v1/segment", "/v1/predict")
PUBLIC_PATHS = ("/health", "/ready", "/openapi.json")
FORM_BYTES = 64 << 10  # boundaries and headers of a multipart form
SECURITY_HEADERS = {
    # the page loads nothing from other hosts; images that it makes itself are blobs and data URLs
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SecurityHeaders:
    """Adds headers that restrict what browsers do with responses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/v1/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class AccessRules:
    """Refuses requests with a foreign host name, from pages of other web sites, or without the token.

    The check of the host name stops DNS rebinding: a page whose name an attacker resolves to 127.0.0.1. The
    check of the origin stops pages that send requests without being able to read the response.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and (error := self._refusal(scope)) is not None:
            response = error_response(error.status_code, error.code, error.detail, headers=error.headers)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers, settings = Headers(scope=scope), self._settings
        host = headers.get("host", "")
        if settings.allowed_hosts and _host_name(host) not in settings.allowed_hosts:
            return ApiError(
                403,
                "host_not_allowed",
                f"the Host header is {host[:80]!r}, expected {' or '.join(sorted(settings.allowed_hosts))}",
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return ApiError(
                403,
                "origin_not_allowed",
                f"pages of {origin[:80]!r} may not use this server; start it with --allow-origin to allow it",
            )
        path = scope["path"]
        is_public = path in PUBLIC_PATHS or not path.startswith(("/v1/", "/metrics"))
        if settings.token is None or is_public or scope["method"] == "OPTIONS":
            return None
        if not hmac.compare_digest(_sent_token(headers).encode(), settings.token.encode()):
            return ApiError(
                401,
                "token_invalid",
                "the token is missing or wrong; send the header 'Authorization: Bearer TOKEN'",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        return origin in self._settings.allowed_origins or (bool(host) and _netloc(origin) == host)


class BodyLimit:
    """Limits the size of request bodies while they are received."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise _too_large(limit)
            return message

        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limit:
            error = _too_large(limit)
            response = error_response(error.status_code, error.code, error.detail)
            await response(scope, receive, send)
            return
        await self._app(scope, receive_limited, send)

    def _limit(self, path: str) -> int:
        settings = self._settings
        if path not in UPLOAD_PATHS:
            return settings.max_request_bytes
        size = settings.max_upload_bytes + settings.max_request_bytes + FORM_BYTES
        return size * 4 // 3 if path == "/v1/predict" else size  # base64: 4 characters for 3 bytes


class TimeLimit:
    """Ends requests that take too long, whether they arrive slowly or wait for the worker."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self._app = app
        self._seconds = settings.request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        was_received = has_started = False

        async def watched_receive() -> Message:
            nonlocal was_received
            message = await receive()
            was_received = was_received or not message.get("more_body", False)
            return message

        async def watched_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, watched_receive, watched_send)
        except TimeoutError:
            if has_started:
                raise
            response = (
                error_response(
                    503,
                    "time_limit",
                    f"the request was not done after {self._seconds:g} s; try again when the server is less "
                    "busy, or with a smaller request",
                    headers={"Retry-After": "1"},
                )
                if was_received
                else error_response(
                    408,
                    "upload_too_slow",
                    f"the request did not arrive within {self._seconds:g} s; send a smaller image",
                    headers={"Connection": "close"},
                )
            )
            await response(scope, receive, send)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        "body_too_large",
        f"the request body has more than {limit:,} bytes, which is the limit; shrink it",
    )


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port and in lower case."""
    return (_netloc_parts(f"//{host}") or "").lower()


def _netloc_parts(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _sent_token(headers: Headers) -> str:
    """Return the token of a request: `Authorization: Bearer TOKEN`, or X-AnyLabeling's `Token: TOKEN`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("token", "")
