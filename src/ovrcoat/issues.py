"""What a check of files has found, gathered instead of raised: all faults at once, counted, with examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ovrcoat.errors import DatasetError

Level = Literal["error", "warning", "note"]
MOST_EXAMPLES = 5


@dataclass(slots=True)
class Issue:
    """One kind of fault: `code` for programs, `message` for people (what it is, why it matters, what to do).

    Attributes:
        level: "error": no number would mean anything; "warning": numbers mean something else than they seem
            to; "note": good to know.
        count: how often it was met.
        examples: the first few places.
    """

    code: str
    level: Level
    message: str
    count: int
    examples: list[str]

    def __str__(self) -> str:
        places = "; ".join(self.examples) + (" …" if self.count > len(self.examples) else "")
        return f"{self.message} ({self.count} ×: {places})"

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {
            "code": self.code,
            "level": self.level,
            "message": self.message,
            "count": self.count,
            "examples": self.examples,
        }


class IssueList:
    """Gathers findings by code, in the order in which kinds were first met."""

    def __init__(self) -> None:
        self._by_code: dict[str, Issue] = {}

    def add(self, code: str, message: str, *, example: str, level: Level = "error") -> None:
        """Count one more of this kind."""
        issue = self._by_code.setdefault(code, Issue(code, level, message, 0, []))
        issue.count += 1
        if len(issue.examples) < MOST_EXAMPLES:
            issue.examples.append(example)

    def __iter__(self) -> Iterator[Issue]:
        return iter(self._by_code.values())

    def __len__(self) -> int:
        return len(self._by_code)

    def __contains__(self, code: object) -> bool:
        return code in self._by_code

    def of(self, level: Level) -> tuple[Issue, ...]:
        """The findings of one level."""
        return tuple(issue for issue in self if issue.level == level)

    def raise_errors(self, subject: str) -> None:
        """Refuse `subject` if there are errors.

        Raises:
            DatasetError: all errors, one per line.
        """
        if errors := self.of("error"):
            lines = "\n".join(f"- {issue}" for issue in errors)
            raise DatasetError(f"{subject} cannot be used:\n{lines}")
