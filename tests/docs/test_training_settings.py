"""The table of settings in docs/training.md has every setting with its default, and no other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ovrcoat.training import augmentation_config, config
from ovrcoat.training.config import TrainConfig

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_.0]+)` \| ([^|]*) \| [^|]+ \|$", re.M)


def groups_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes in an annotation such as tuple[X, ...] | None."""
    inside = [group for part in get_args(annotation) for group in groups_in(part)]
    modules = {config.__name__, augmentation_config.__name__}
    own = isinstance(annotation, type) and annotation.__module__ in modules
    return [*inside, annotation] if own and issubclass(annotation, BaseModel) else inside


def settings(group: type[BaseModel], place: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names as --set takes them, with defaults as the page writes them."""
    for name, field in group.model_fields.items():
        inner = groups_in(field.annotation)
        many = "tuple" in str(field.annotation) and bool(inner)
        path = f"{place}{name}"
        if inner == [config.DataConfig] and group is not config.StageConfig:
            yield path, "required" if field.is_required() else "none"  # documented below stages
        elif inner:
            if field.default is None:
                yield path, "off" if name in {"ovr", "validation", "copy_paste", "photometric"} else "none"
            yield from settings(inner[0], f"{path}.0." if many else f"{path}.")
        elif field.default is PydanticUndefined:
            yield path, "required"
        elif field.default is None:
            yield path, "none"
        elif isinstance(field.default, BaseModel) or name == "templates":
            yield path, "published"
        else:
            yield path, f"`{json.dumps(field.default)}`"


def test_the_table_is_that_of_the_code():
    documented = dict(ROW.findall(PAGE))
    assert documented == dict(settings(TrainConfig))
    assert len(documented) > 50
