"""Issues that checks report: collected instead of raised, counted by code, with a few examples each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from ovrcoat.errors import DatasetError

Severity = Literal["error", "warning", "note"]
IssueCatalog = Mapping[str, tuple[Severity, str]]  # code → severity and message
MAX_LENGTH = 400  # characters of an example
MAX_EXAMPLES = 5
NO_CATALOG: IssueCatalog = MappingProxyType({})


@dataclass(slots=True)
class Issue:
    """One kind of issue: what is wrong, why it matters and how to fix it.

    Attributes:
        severity: "error" makes the input unusable, "warning" changes what the results mean, "note" is for
            information only.
        code: Stable identifier for programs, for example "png-missing".
        message: Explanation for people.
        examples: The first places where the issue occurs, at most `MAX_EXAMPLES`.
        count: Number of occurrences.
        where: The file or setting that the issue is about, if the context does not already say so.
    """

    severity: Severity
    code: str
    message: str
    examples: list[str] = field(default_factory=list)
    count: int = 1
    where: str | None = None

    def __str__(self) -> str:
        text = self.message if self.where is None else f"{self.where}: {self.message}"
        if not self.examples:
            return text
        examples = "; ".join(self.examples) + (" …" if self.count > len(self.examples) else "")
        return f"{text} ({self.count} ×: {examples})"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable dictionary; `Issue(**dictionary)` restores the issue."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "examples": self.examples,
            "count": self.count,
            "where": self.where,
        }


class IssueList:
    """Collects issues by code, in the order of their first occurrence.

    Args:
        catalog: Severity and message of each code that `report` accepts.
    """

    def __init__(self, catalog: IssueCatalog = NO_CATALOG) -> None:
        self._catalog = catalog
        self._by_code: dict[str, Issue] = {}

    def report(self, code: str, example: str) -> None:
        """Record one occurrence of an issue from the catalog.

        Raises:
            KeyError: The catalog has no such code.
        """
        severity, message = self._catalog[code]
        self.add(code, message, example=example, severity=severity)

    def add(self, code: str, message: str, *, example: str, severity: Severity = "error") -> None:
        """Record one occurrence of an issue; the first occurrence sets its message and severity."""
        issue = self._by_code.setdefault(code, Issue(severity, code, message, count=0))
        issue.count += 1
        if len(issue.examples) < MAX_EXAMPLES:
            issue.examples.append(_shorten(example))

    def include(self, issue: Issue) -> None:
        """Add an issue that was found elsewhere, with its count; examples of equal codes are merged."""
        known = self._by_code.get(issue.code)
        if known is None:
            self._by_code[issue.code] = replace(issue, examples=list(issue.examples))
        else:
            known.count += issue.count
            known.examples += issue.examples[: MAX_EXAMPLES - len(known.examples)]

    def __iter__(self) -> Iterator[Issue]:
        return iter(self._by_code.values())

    def __len__(self) -> int:
        return len(self._by_code)

    def __contains__(self, code: object) -> bool:
        return code in self._by_code

    def with_severity(self, severity: Severity) -> tuple[Issue, ...]:
        """Return the issues of one severity."""
        return tuple(issue for issue in self if issue.severity == severity)

    def raise_errors(self, subject: str, *, outcome: str = "cannot be used") -> None:
        """Raise if there are errors; warnings alone do not raise.

        Args:
            subject: What was checked, for example a file name.
            outcome: What the errors prevent; the message starts with "{subject} {outcome}".

        Raises:
            DatasetError: All errors, then all warnings, one per line.
        """
        if errors := self.with_severity("error"):
            lines = [f"- {issue}" for issue in errors]
            lines += [f"- warning: {issue}" for issue in self.with_severity("warning")]
            raise DatasetError("\n".join([f"{subject} {outcome}:", *lines]))


def _shorten(example: str) -> str:
    """Cut the middle out of a long example: names in documents can have any length."""
    return example if len(example) <= MAX_LENGTH else f"{example[: MAX_LENGTH - 60]}…{example[-59:]}"
