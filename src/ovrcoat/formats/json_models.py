"""Pydantic models as JSON, also if they hold file names that are not UTF-8."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from ovrcoat.formats.json_files import encode_json
from ovrcoat.system.documents import DocumentError, parse_json

Model = TypeVar("Model", bound=BaseModel)


def encode_model(model: BaseModel, **options: Any) -> bytes:
    """Encode a model as JSON on one line.

    Args:
        model: The model.
        **options: Of `BaseModel.model_dump_json`.
    """
    try:
        return model.model_dump_json(**options).encode()
    except PydanticSerializationError:  # bytes that are not UTF-8, which pydantic cannot write
        values = model.model_dump(mode="json", **options)
        return encode_json(json.dumps(values, ensure_ascii=False, separators=(",", ":")))


def decode_model(model_type: type[Model], content: bytes) -> Model:
    """Read a model that `encode_model` has written.

    Raises:
        ValidationError: The content is not valid JSON, or does not fit the model.
    """
    try:
        return model_type.model_validate_json(content)
    except ValidationError:
        if b"\\ud" not in content:
            raise
        try:
            values = parse_json(content)
        except DocumentError:
            values = None
        if values is None:
            raise
        return model_type.model_validate(values)
