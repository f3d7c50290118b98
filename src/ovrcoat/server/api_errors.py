"""Errors of the API: a status, a code for programs and one sentence for people, always as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ovrcoat.errors import ImageError, OvrcoatError, VocabularyError

MAX_MESSAGE = 1_000  # characters: messages quote what clients send
MAX_DETAILS = 3
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left; nobody receives it
# Codes of errors that the framework raises itself.
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}


class ErrorDetail(BaseModel):
    """What is wrong with a request."""

    model_config = ConfigDict(extra="forbid")

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every response with a status of 400 or more."""

    success: bool = False
    error: ErrorDetail


class ApiError(HTTPException):
    """An error that a client receives.

    Args:
        status: HTTP status.
        code: identifier for programs.
        message: what came, what was expected, what to do.
        headers: additional headers of the response.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.code = code


def error_response(
    status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response of an error. Messages are cut and escaped: they may quote any text."""
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]} …"
    body = ErrorBody(error=ErrorDetail(code=code, message=message)).model_dump()
    return Response(json.dumps(body), status, headers, media_type="application/json")


def add_error_handlers(app: FastAPI) -> None:
    """Turn every exception of the application into an error response."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(OvrcoatError, _on_package_error)
    app.add_exception_handler(Exception, _on_defect)


def describe_validation(errors: list[ErrorDetails] | list[Any]) -> str:
    """Return one sentence about the first errors of a pydantic model. Values are not quoted."""
    shown = [f"{'.'.join(map(str, error['loc'])) or 'request'}: {error['msg']}" for error in errors]
    more = f" (and {len(shown) - MAX_DETAILS} more)" if len(shown) > MAX_DETAILS else ""
    return f"the request is not valid: {'; '.join(shown[:MAX_DETAILS])}{more}; see /openapi.json"


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = error.code if isinstance(error, ApiError) else _CODES.get(error.status_code, "http_error")
    message = error.detail if isinstance(error, ApiError) else f"{request.method}: {error.detail}"
    return error_response(error.status_code, code, message, headers=error.headers)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(422, "invalid_request", describe_validation(list(error.errors())))


async def _on_package_error(request: Request, error: Exception) -> Response:
    codes = ((VocabularyError, "invalid_vocabulary"), (ImageError, "invalid_image"))
    code = next((code for kind, code in codes if isinstance(error, kind)), "invalid_option")
    return error_response(422, code, str(error))


async def _on_defect(request: Request, error: Exception) -> Response:
    """Reply to an exception that nobody expected; the framework then logs its traceback on the server."""
    return error_response(
        500, "internal_error", "the server failed at this request; its log has the reason. Report it"
    )
