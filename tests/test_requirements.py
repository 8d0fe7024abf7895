"""A missing requirement skips, unless the machine is known to have it."""

from __future__ import annotations

import pytest

from tests.requirements import require


def test_what_is_there_is_no_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_REQUIRE", "moon")
    require("moon", "/usr/bin/moon", "the moon is not on PATH")


@pytest.mark.parametrize("required", ["", "sun", "moonlight"])
def test_what_is_missing_skips(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("MLOPS_REQUIRE", required)
    with pytest.raises(pytest.skip.Exception, match="not on PATH"):
        require("moon", None, "the moon is not on PATH")


def test_what_is_missing_but_required_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_REQUIRE", "sun, moon")
    with pytest.raises(pytest.fail.Exception, match="MLOPS_REQUIRE names `moon`"):
        require("moon", None, "the moon is not on PATH")
