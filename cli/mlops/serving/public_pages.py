"""The pages of a process's public port: what is live, reports, metrics and the live page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette

from mlops.journal.base import Journal
from mlops.journal.outage import OutageLog
from mlops.journal.url import journal_url
from mlops.runtimes.example import concealed
from mlops.serving.access.gate import Gate
from mlops.serving.consumer_process import consumers_of
from mlops.serving.counting import Counts
from mlops.serving.dataplane import DataPlane
from mlops.serving.explaining import Explainer
from mlops.serving.importance import LiveImportance
from mlops.serving.live_page.hub import Hub
from mlops.serving.live_page.pages import LivePage
from mlops.serving.live_page.reader import Reader
from mlops.serving.live_page.session import Sessions
from mlops.serving.metrics import Metrics
from mlops.serving.page_process import PageApart
from mlops.serving.pages import Pages
from mlops.serving.report import LiveReport
from mlops.serving.revision import LiveRevision
from mlops.serving.same_rows import SameRows
from mlops.spec.server import Launch


class PublicPages:
    """Everything of the public port that is not a prediction or feedback.

    Args:
        launch: How the process was started.
        journal: The deployment's journal.
        plane: Answers requests by the live revision.
        metrics: What this process has counted.
        gate: Says who may read.
        explainer: Explains predictions.
        warnings: Returns what the operator should look at, fit for callers.
        counts: Gives what all processes have counted; by default this is the only one.
        outage: Where this process says that the journal is away.

    Attributes:
        sessions: Of the viewers who have logged in.
    """

    def __init__(
        self,
        launch: Launch,
        journal: Journal,
        plane: DataPlane,
        metrics: Metrics,
        gate: Gate,
        explainer: Explainer,
        warnings: Callable[[], list[str]],
        key: bytes,
        counts: Callable[[], Awaitable[Counts]] | None = None,
        outage: OutageLog | None = None,
    ) -> None:
        self._outage = outage or OutageLog()
        self._launch, self._journal, self._plane, self._metrics = launch, journal, plane, metrics
        self._gate, self._explainer, self._warnings, self._counts = (
            gate,
            explainer,
            warnings,
            counts,
        )
        self._same_rows = SameRows(plane)
        self.sessions = Sessions(gate, key, launch.name)
        self._live_page = self._make_live_page(key)

    def application(self) -> Starlette:
        """Return the ASGI application of these pages."""
        return Pages(
            self._plane,
            self._metrics,
            lambda: concealed(self._plane.live.example, self._launch.hidden),
            secured=lambda: self._gate.required,
            report=self._report("report"),
            evidence=self._report("evidence"),
            verdict=self._report("verdict"),
            counts=self._counts,
            explains=True,
            live_page=self._live_page,
            outage=self._outage,
        ).application()

    def close(self) -> None:
        """End what is sent to viewers of the live page."""
        self._live_page.close()

    def _make_live_page(self, key: bytes) -> LivePage:
        """Return the pages under `/ui`."""
        launch = self._launch
        about = {
            "deployment": launch.name,
            "journal_url": launch.journal_url,
            "key": key.hex(),
            "alpha": launch.alpha,
            "baseline": launch.baseline,
            "consumers": list(consumers_of(launch)),
            "state_file": launch.state_file,
            "hidden": list(launch.hidden),
        }

        async def own() -> Counts:
            return self._metrics.counts()

        reader = Reader(about, self._same_rows)
        hub = Hub(
            self._counts or own,
            reader,
            self._state,
            shared=journal_url(launch.journal_url, launch.name).startswith("postgres"),
            outage=self._outage,
        )
        return LivePage(
            self._get, hub, reader, self.sessions, self._explainer, lambda: self._gate.required
        )

    def _report(self, name: str) -> LiveReport:
        """Return what writes a page about the journal."""
        launch = self._launch
        importance = None
        if name == "report":
            importance = LiveImportance(self._get, launch.name, launch.journal_url)
        page = PageApart(name, launch.name, launch.journal_url, importance=importance)
        return LiveReport(
            self._journal,
            launch.alpha,
            launch.baseline,
            self._same_rows,
            load=lambda: page,
            revision=lambda: self._plane.live.served.revision.number,
        )

    def _get(self) -> LiveRevision:
        return self._plane.live

    def _state(self) -> dict[str, Any]:
        return {
            "revision": self._plane.live.served.revision.number,
            "faults": [*self._plane.faults, *self._warnings()],
        }
