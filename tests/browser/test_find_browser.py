"""Without a browser the tests of the page are skipped, except in continuous integration."""

from pathlib import Path

import pytest

from browser_path import find_browser


def test_without_a_browser_the_tests_are_skipped_and_say_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt install chromium"):
        find_browser()


def test_in_continuous_integration_a_missing_browser_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt install chromium"):
        find_browser()
