"""Parts of the OpenAPI document that the signatures of the endpoints do not state."""

from typing import Any

from pydantic import BaseModel

from ovrcoat.server.api_errors import ErrorBody
from ovrcoat.server.schemas import SegmentRequest
from ovrcoat.server.uploads import IMAGE_FIELD, MULTIPART, REQUEST_FIELD

Responses = dict[int | str, dict[str, Any]]
_MEANINGS = {
    400: "The body cannot be read.",
    401: "The token is missing or wrong.",
    403: "The host name or the origin is not allowed.",
    404: "There is nothing with this id or name.",
    408: "The request arrived too slowly.",
    413: "The body or the image is too large.",
    415: "The content type is not supported.",
    422: "The request, the image, the vocabulary or an option is not valid.",
    429: "The queue is full; the header Retry-After gives a number of seconds.",
    500: "The server failed.",
    503: "The request took too long.",
}


def errors(*statuses: int) -> Responses:
    """Return the error responses of an endpoint, for its OpenAPI description."""
    return {
        status: {"model": ErrorBody, "description": _MEANINGS[status]}
        for status in sorted({401, 403, 500, *statuses})
    }


def upload_body(*, with_request: bool, raw: bool) -> dict[str, Any]:
    """Return the description of a multipart body.

    Args:
        with_request: whether the form has the text field `request`.
        raw: whether the bytes of an image are accepted as well.
    """
    binary = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {IMAGE_FIELD: binary | {"description": "An image file."}}
    if with_request:
        properties[REQUEST_FIELD] = {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": f"#/components/schemas/{SegmentRequest.__name__}"},
            "examples": ['{"vocabulary": "cat; sofa; wall#stuff"}'],
        }
    form = {"type": "object", "properties": properties, "required": list(properties)}
    content: dict[str, Any] = {MULTIPART: {"schema": form}}
    if raw:
        content |= {kind: {"schema": binary} for kind in ("image/jpeg", "image/png", "image/webp")}
    return {"requestBody": {"required": True, "content": content}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a JSON body that an endpoint reads itself; its schema is inlined."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _inlined(schema, definitions)}},
        }
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace the references of a schema by what they refer to."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[-1]
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return _inlined(definitions[name], definitions) | rest
        return {key: _inlined(value, definitions) for key, value in schema.items()}
    return [_inlined(item, definitions) for item in schema] if isinstance(schema, list) else schema
