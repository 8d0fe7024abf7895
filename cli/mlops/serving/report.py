"""The report of the experiment as a live page.

`serving` and `monitoring` are on one layer of the package and never import each other:
answering requests must not depend on statistics, and a report must not need a server. So the page
is found by name, like every strategy, and NumPy's and SciPy's statistics are imported when a client
first asks for it, not when the server starts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from mlops.errors import MlopsError, RemoteError
from mlops.journal.base import Journal
from mlops.journal.outage import OutageLog
from mlops.plugins import Plugins
from mlops.spec.metrics import GUARDRAILS, VERDICT, Family

_LOG = logging.getLogger(__name__)
# A page is served again this long without reading the journal; and, where the journal is so large
# that reading it takes long, until the pause is this many times as long as the work.
_KEPT_S = 2.0
_PAUSE = 10.0
# For metrics a verdict counts this long without another: as long as Prometheus looks back for a
# sample. It still counts while another is made, however long that takes, up to the second number.
_OLD_S, _SLOW_S = 300.0, 3600.0
_UNDECIDED = {VERDICT: 0.0, GUARDRAILS: 0.0}

#: Asks every arm of the experiment of this identity about rows: one list of predictions per arm.
Ask: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]


class Page(Protocol):
    """Writes a page about what a journal holds."""

    def __call__(
        self, journal: Journal, *, alpha: float, baseline: str, live: bool, ask: Ask | None
    ) -> str:
        """Return HTML, or JSON; `live` pages renew themselves.

        Called in a thread of its own; only reads. `ask` has every arm predict rows.

        Raises:
            NotFoundError: There is nothing to write about.
            InvalidInputError: There is no arm called `baseline`.
        """
        ...


#: What is written about a journal: the report for users, and the same for programs.
PAGES: Plugins[Page] = Plugins(
    "page",
    {
        "report": "mlops.monitoring.page:report_page",
        "evidence": "mlops.monitoring.report_json:report_json",
        "verdict": "mlops.monitoring.verdict_metric:verdict_json",
    },
)


class LiveReport:
    """The newest page of the report, read at most once at a time and kept for a while.

    Args:
        journal: What it is about.
        alpha: Probability of ever naming a false winner, in (0, 1).
        baseline: Arm the others are compared with; empty for the first.
        ask: Asks every arm of an experiment about rows; called in a thread.
        load: Gives what writes it, when it is first needed.
        revision: Number of what is live; a page of another is not served again.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        journal: Journal,
        alpha: float,
        baseline: str,
        ask: Ask | None = None,
        load: Callable[[], Page] = lambda: PAGES.load("report"),
        revision: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._alpha = alpha
        self._baseline = baseline
        self._ask = ask
        self._load = load
        self._revision = revision
        self._clock = clock
        self._lock = asyncio.Lock()
        self._page = ""
        self._kept_until = -1.0
        self._of = -1

    async def __call__(self) -> str:
        """Return the page of what is live, written now or some time ago.

        Raises:
            NotFoundError: There is nothing to write about.
            InvalidInputError: There is no arm called as the baseline.
        """
        async with self._lock:
            started, live = self._clock(), self._revision()
            # Whoever has just moved traffic must not be told what was known before.
            if started >= self._kept_until or live != self._of:
                self._page = await asyncio.to_thread(self._write)
                done = self._clock()
                self._kept_until = done + max(_KEPT_S, _PAUSE * (done - started))
                self._of = live
            return self._page

    def _write(self) -> str:
        return self._load()(
            self._journal, alpha=self._alpha, baseline=self._baseline, live=True, ask=self._ask
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """A verdict in numbers, with the revision it is about and when it came."""

    values: dict[Family, float]
    revision: int
    at_s: float


class VerdictGauge:
    """The verdict in numbers, for metrics: as it was at the previous scrape.

    A scrape does not wait for it, and without guardrails nothing is computed. What is known counts
    for the live revision only, and not for long: 0, not decided, after that.

    Args:
        verdict: Writes `/verdict.json`.
        wanted: Whether what is live has a verdict to watch.
        revision: Number of what is live.
        clock: Seconds that only grow.
        outage: Where this process says that the journal is away.
    """

    def __init__(
        self,
        verdict: Callable[[], Awaitable[str]],
        wanted: Callable[[], bool],
        revision: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        outage: OutageLog | None = None,
    ) -> None:
        self._outage = outage or OutageLog()
        self._verdict = verdict
        self._wanted = wanted
        self._revision = revision
        self._clock = clock
        self._known: _Known | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._began_s = 0.0

    def __call__(self) -> dict[Family, float]:
        """Return what is known, and start an update."""
        if not self._wanted():
            self._known = None
            return dict(_UNDECIDED)
        if self._renewing is None or self._renewing.done():
            self._began_s = self._clock()
            self._renewing = asyncio.create_task(self._renew(self._revision()))
        known = self._known
        if known is None or known.revision != self._revision():
            return dict(_UNDECIDED)
        # While a large journal is read there can be nothing newer.
        waited_s, renewing_s = self._began_s - known.at_s, self._clock() - self._began_s
        is_old = waited_s > _OLD_S or renewing_s > _SLOW_S
        return dict(_UNDECIDED if is_old else known.values)

    async def _renew(self, revision: int) -> None:
        try:
            said = json.loads(await self._verdict())
        except RemoteError as error:
            self._outage.met(error)
            return
        except MlopsError as error:
            _LOG.info("no verdict for `/metrics`: %s", error.message)
            return
        except Exception:  # noqa: BLE001 - the next scrape asks again; what is known stays
            _LOG.exception("no verdict for `/metrics`")
            return
        values = {VERDICT: said["result"], GUARDRAILS: said["guardrails"]}
        self._known = _Known(values, revision, self._clock())
