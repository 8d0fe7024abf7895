"""Settings that a program gives, as `mlops.deploy(settings=...)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlops
from mlops.errors import InvalidInputError, NotFoundError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"feedback.windw": "7d"},
            "settings=: unknown setting `feedback.windw`. Did you mean `feedback.window`?",
        ),
        (
            {"deploy.prot": 1},
            "settings=: unknown setting `deploy.prot`. Did you mean `deploy.port`?",
        ),
        (
            {"prt": 1},
            "settings=: unknown setting `prt`. Did you mean `deploy.port` or `report.per`?",
        ),
        (
            {"deploy": {"prot": 1}},
            "settings=: unknown setting `deploy.prot`. Did you mean `deploy.port`?",
        ),
        ({"zzz": 1}, "settings=: unknown setting `zzz`."),
        (
            {"deploy": 1},
            (
                "settings=: unknown setting `deploy`. It is a section, "
                "whose value is a mapping of its keys."
            ),
        ),
        ({"deploy.port": "x"}, "settings=: `deploy.port` must be a whole number, not `x`"),
        ({"deploy": {"port": "x"}}, "settings=: `deploy.port` must be a whole number, not `x`"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    for call in (mlops.status, mlops.deploy, mlops.report):
        with pytest.raises(InvalidInputError) as caught:
            call(project=tmp_path, settings=given)
        assert caught.value.message == said
    with pytest.raises(InvalidInputError) as caught:
        mlops.train(tmp_path, settings=given)
    assert caught.value.message == said


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for call in (mlops.status, mlops.deploy, mlops.report):
        with pytest.raises(NotFoundError, match="There is no folder"):
            call(project=tmp_path / "absent")
