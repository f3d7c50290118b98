"""Shard: the part of a task that one of several machines does."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ovrcoat.errors import ConfigError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` disjoint shares of a sequence; together they are the whole sequence.

    Attributes:
        index: 1..`count`.
        count: number of shares, 1 or more.
    """

    index: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "2/7", the second of seven shares.

        Raises:
            ConfigError: it is something else.
        """
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text, flags=re.ASCII)
        index, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= index <= count:
            raise ConfigError(
                f"--shard is {text!r}, expected i/n with i from 1 to n: 2/7 is the second of seven shards"
            )
        return cls(index, count)

    def select(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return every `count`-th item; it depends on the position alone, so all machines agree."""
        return items[self.index - 1 :: self.count]
