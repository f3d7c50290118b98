"""The process that runs hostile inputs, one for all tests of a session."""

from collections.abc import Iterator

import pytest

from hostile.harness import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()
