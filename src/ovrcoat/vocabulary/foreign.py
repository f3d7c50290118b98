"""Category lists in JSON and YAML files of other tools, converted to the form that `records.py` validates.

| tool | form |
|---|---|
| Ultralytics, Roboflow | `names:` with a list or a map from id to name |
| Hugging Face | `{"id2label": {"0": "cat"}}`, or that map alone |
| OneFormer and other panoptic models | `{"0": {"name": "wall", "isthing": 0}}` |
| MMDetection, torchvision | `classes:`, `class_names:` or `labels:` with a list |
| Mapillary, CVAT | a list of objects with `readable`, or with hexadecimal colors |
| COCO, panopticapi, Roboflow | objects with `supercategory` and other keys |
"""

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

NAME_KEYS = ("categories", "names", "id2label", "classes", "class_names", "labels", "thing_classes")
ID = re.compile(r"\d{1,9}", re.ASCII)
HEX_COLOR = re.compile(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", re.IGNORECASE)
# Keys of other tools. Without one of them, an unknown key in a list is a misspelling, which is an error.
FOREIGN_KEYS = {"supercategory", "readable", "attributes", "keypoints", "synset", "frequency", "type"}


def standard_form(data: object) -> object:
    """Return the content of a file in the standard form; content of another form is returned unchanged."""
    if isinstance(data, list):
        return {"categories": _objects(data)} if any(map(_is_foreign, data)) else data
    if not isinstance(data, dict):
        return data
    listed = data if _is_map(data) else next((data[key] for key in NAME_KEYS if key in data), None)
    if _is_map(listed):
        return {**data, "categories": _from_map(listed)}
    if isinstance(listed, list) and "categories" not in data and _all_text(listed):
        return {**data, "categories": [{"name": name, "id": id} for id, name in enumerate(listed)]}
    return {**data, "categories": _objects(listed)} if isinstance(listed, list) else data


def root_categories(data: object) -> tuple[str, ...]:
    """Return the names of categories that only group others: Roboflow's first category is the project.

    Its supercategory is "none", it is the supercategory of others, and no annotation uses it.
    """
    if not isinstance(data, dict) or not isinstance(data.get("categories"), list):
        return ()
    objects = [item for item in data["categories"] if isinstance(item, dict)]
    annotations = data.get("annotations")
    used = {
        str(item.get("category_id"))
        for item in (annotations if isinstance(annotations, list) else ())
        if isinstance(item, dict)
    }
    groups = {item.get("supercategory") for item in objects if isinstance(item.get("supercategory"), str)}
    return tuple(
        str(item["name"])
        for item in objects
        if item.get("supercategory") == "none"
        and isinstance(item.get("name"), str)
        and item["name"] in groups
        and str(item.get("id")) not in used
    )


def _is_map(value: object) -> TypeGuard[dict[Any, object]]:
    """Return whether a value is a map from ids to names."""
    return isinstance(value, dict) and bool(value) and all(ID.fullmatch(str(id)) for id in value)


def _all_text(items: list[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


def _from_map(names: Mapping[Any, object]) -> list[object]:
    """Convert a map from id to a name, or to an object with a name."""
    return [
        {**_object(value), "id": int(id)}
        if isinstance(value, dict)
        else {"name": value.strip() if isinstance(value, str) else value, "id": int(id)}
        for id, value in names.items()
    ]


def _is_foreign(item: object) -> bool:
    return isinstance(item, dict) and (
        not FOREIGN_KEYS.isdisjoint(item) or isinstance(item.get("color"), str)
    )


def _objects(items: list[Any]) -> list[object]:
    return [_object(item) if isinstance(item, dict) else item for item in items]


def _object(item: dict[str, Any]) -> dict[str, Any]:
    """Convert Mapillary's keys and hexadecimal colors."""
    converted = dict(item)
    if isinstance(item.get("readable"), str):
        converted["name"] = item["readable"]
        converted.setdefault("isthing", item.get("instances"))
    if isinstance(color := item.get("color"), str):
        found = HEX_COLOR.fullmatch(color.strip())
        converted["color"] = [int(part, 16) for part in found.groups()] if found else None
    return converted
