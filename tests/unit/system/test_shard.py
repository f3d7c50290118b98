"""Shards are disjoint and complete."""

import pytest

from ovrcoat.errors import ConfigError
from ovrcoat.system.shard import Shard


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shards_are_disjoint_and_complete(count: int):
    items = list(range(23))
    shares = [Shard(index, count).select(items) for index in range(1, count + 1)]
    assert sorted(item for share in shares for item in share) == items


def test_a_shard_is_read():
    assert Shard.parse(" 2/7 ") == Shard(2, 7)
    assert str(Shard(2, 7)) == "2/7"


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "", "1/2/3", "²/3"])
def test_anything_else_is_refused(text: str):
    with pytest.raises(ConfigError, match="expected i/n"):
        Shard.parse(text)
