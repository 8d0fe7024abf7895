"""The cards of the page of a project: one for each deployment, and rates between two looks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops.deployment.locate import Found
from mlops.errors import NotFoundError, RemoteError
from mlops.settings import Settings, load_settings
from mlops.workflows import project_page, statuses
from mlops.workflows.project_page import ProjectPage

_MLFLOW = "http://127.0.0.1:9/"


class _OneServer:
    """What `each_status` gives, with requests that are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.asked, self.looks = 100.0, 0, 0
        monkeypatch.setattr(project_page, "each_status", self)
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)

    def __call__(self, settings: Settings) -> list[Any]:
        self.looks += 1
        arm = {"name": "a", "version": "wine/1", "weight": 1.0, "requests": self.asked, "errors": 0}
        return [("wine", _Status("wine", 1, "running", "http://127.0.0.1:9", (arm,)))]


@dataclass
class _Status:
    name: str
    revision: int
    state: str
    url: str
    arms: tuple[dict[str, Any], ...]


def test_rates_are_between_two_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = ProjectPage(load_settings(tmp_path), _MLFLOW, "127.0.0.1")
    server = _OneServer(monkeypatch)
    before: dict[str, Any] = {}
    assert "<b>\N{EN DASH}</b> requests/s" in page._written(before)
    for seconds in (1.98, 0.02):
        server.now_s, server.asked = server.now_s + seconds, server.asked + 10
        # Somebody loads the page.
        assert "<b>\N{EN DASH}</b> requests/s" in page._written()
    assert "<b>10.0</b> requests/s" in page._written(before)


def test_each_deployment_has_a_card_also_where_it_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings(tmp_path)
    known = [Found(name, None) for name in ("ale", "beer", "wine")]
    monkeypatch.setattr(statuses, "locate_all", lambda _settings: known)

    def status(_settings: Settings, found: Found) -> _Status:
        if found.name == "ale":
            raise NotFoundError("Its state was removed meanwhile.")
        if found.name == "beer":
            raise RemoteError("This needs `mlops-ai[kubernetes]`.")
        return _Status(found.name, 1, "running", "http://127.0.0.1:9", ())

    monkeypatch.setattr(statuses, "_status", status)
    html = str(ProjectPage(settings, _MLFLOW, "127.0.0.1")._written())
    assert html.count('<li class="card deployment">') == 3
    assert "removed meanwhile" in html
    assert "<code>mlops-ai[kubernetes]</code>" in html
    assert 'href="d/wine/ui"' in html
