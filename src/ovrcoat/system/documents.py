"""The one parser of JSON and the one of YAML for content that may be hostile: depth and size are limited.

Both raise `DocumentError` with the line and column of the problem. YAML is for settings that people write, so
its limits are lower.
"""

import json
from functools import cache
from typing import Any

MAX_JSON_DEPTH = 200  # of pydantic's parser; the deepest format read here has about ten levels
MAX_YAML_DEPTH = 50
MAX_YAML_VALUES = 200_000  # with all aliases expanded
# Python takes about 24 bytes for a number and 60 to 100 for an empty list or object. A document may take
# 1 GiB or eight times its own size, whichever is more; COCO's files take about five times.
VALUE_BYTES, CONTAINER_BYTES = 24, 72
FREE_BYTES, GROWTH = 1 << 30, 8
_BLOCK = 1 << 20


class DocumentError(ValueError):
    """A document is not valid, or exceeds a limit."""


def parse_json(content: bytes | str) -> Any:
    """Parse UTF-8 JSON; a byte order mark is accepted.

    Raises:
        DocumentError: it is not valid JSON, is nested too deeply, or would take too much memory.
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    data = data.removeprefix(b"\xef\xbb\xbf")
    _check_memory(data)
    from pydantic_core import from_json  # verbs that read no JSON start without it

    try:
        return from_json(data)
    except ValueError as error:
        if "recursion limit" in str(error):
            raise DocumentError(f"nested more than {MAX_JSON_DEPTH} levels deep") from error
        return _parse_as_python(data)


def parse_yaml(text: str) -> Any:
    """Parse YAML without custom types.

    Raises:
        DocumentError: it is not valid YAML, a value has no valid form, or depth, number of values or aliases
            exceed a limit. The message is one line.
    """
    import yaml  # its import takes longer than reading most files

    try:
        content = text.encode()
        counter = _YamlCounter()
        for event in yaml.parse(content, Loader=_yaml_loader()):
            counter.add(event)
        return yaml.load(content, Loader=_yaml_loader())
    except UnicodeEncodeError as error:
        raise DocumentError("it holds characters that are not valid Unicode") from error
    except yaml.YAMLError as error:
        raise DocumentError(_yaml_reason(error)) from error
    except RecursionError as error:
        raise DocumentError("nested too deeply") from error


def check_depth(value: Any) -> None:
    """Check that nested lists and dicts have at most `MAX_JSON_DEPTH` levels.

    Raises:
        DocumentError: they have more.
    """
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [
            inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise DocumentError(f"nested more than {MAX_JSON_DEPTH} levels deep")


def _parse_as_python(data: bytes) -> Any:
    """Parse what pydantic's parser rejects: names that are not UTF-8 (`"\\udce9"`), or invalid JSON."""
    try:
        value = json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise DocumentError(f"nested more than {MAX_JSON_DEPTH} levels deep") from error
    except ValueError as error:
        raise DocumentError(str(error)) from error
    check_depth(value)
    return value


def _check_memory(data: bytes) -> None:
    """Check how much memory the values of a JSON document will take, from its punctuation."""
    if len(data) * (CONTAINER_BYTES // 3 + 1) <= FREE_BYTES:  # "[]," is the worst
        return
    import numpy as np

    signs = np.frombuffer(data, dtype=np.uint8)
    blocks = [signs[start : start + _BLOCK] for start in range(0, len(signs), _BLOCK)]
    commas, lists, objects = (
        sum(int(np.count_nonzero(block == sign)) for block in blocks) for sign in b",[{"
    )
    estimate = commas * VALUE_BYTES + (lists + objects) * CONTAINER_BYTES
    if estimate > (limit := max(FREE_BYTES, GROWTH * len(data))):
        raise DocumentError(
            f"its {commas + lists + objects:,} values would take about {estimate >> 20:,} MiB of memory, "
            f"expected at most {limit >> 20:,} MiB for a file of this size"
        )


@cache
def _yaml_loader() -> Any:
    """Return PyYAML's safe loader, if possible the fast one; its errors name the place of a value."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep=deep)
            except (yaml.YAMLError, RecursionError):
                raise
            except (
                Exception
            ) as error:  # each type of value has errors of its own: 2020-99-99, 0x_, huge numbers
                reason = str(error).split(":")[0] or type(error).__name__
                problem = f"the value {str(node.value)[:40]!r} is not valid ({reason}); put text in quotes"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    return Loader


class _YamlCounter:
    """Limits depth and number of values before anything is built; an alias counts as what it stands for."""

    def __init__(self) -> None:
        self._count = 0
        self._sizes: dict[str, int] = {}  # of anchors
        self._open: list[tuple[str | None, int]] = []  # anchor, and the number of values before it

    def add(self, event: Any) -> None:
        """Count an event of PyYAML's parser.

        Raises:
            yaml.YAMLError: a limit is exceeded.
        """
        import yaml

        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor is not None:
                self._sizes[anchor] = self._count - before
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in self._open):
                raise self._error("an alias contains itself", event)
            self._count += self._sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self._count))
            self._count += 1
        elif isinstance(event, yaml.ScalarEvent):
            self._sizes.pop(str(event.anchor), None)  # the anchor may have stood for something else
            self._count += 1
        if self._count > MAX_YAML_VALUES:
            raise self._error(f"more than {MAX_YAML_VALUES:,} values, with aliases expanded", event)
        if len(self._open) > MAX_YAML_DEPTH:
            raise self._error(f"nested more than {MAX_YAML_DEPTH} levels deep", event)

    @staticmethod
    def _error(problem: str, event: Any) -> Exception:
        import yaml

        return yaml.MarkedYAMLError(None, None, problem, event.start_mark)


def _yaml_reason(error: Any) -> str:
    """Return an error of PyYAML in one line, with the place."""
    mark = getattr(error, "problem_mark", None)
    text = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split())[
        :300
    ]
    return text if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {text}"
