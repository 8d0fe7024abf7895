"""The server of a deployment in one process: its parts composed, and stopped in order.

Its owner also administrates it: `alone` if it is the only one, `supervisor` if several
share the callers. So a revision goes live in steps that several can take together.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.base import Journal, JournalUnavailableError
from mlops.journal.features import Hiding
from mlops.journal.null import URL as NO_JOURNAL
from mlops.journal.null import open_journal
from mlops.journal.outage import AWAY
from mlops.journal.records import StoredOutcome
from mlops.journal.spool import Spool
from mlops.journal.url import journal_folder, journal_url
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import ProtocolError
from mlops.registry.cache_lease import Lease
from mlops.serving.access.keyring import Keyring
from mlops.serving.access.opening import open_gate
from mlops.serving.access.watch import follow
from mlops.serving.app import App
from mlops.serving.browsers import Guard
from mlops.serving.consumer_process import ConsumerProcess, consumers_of
from mlops.serving.counting import Counts, packed, unpacked
from mlops.serving.dataplane import DataPlane
from mlops.serving.epochs import follow_epochs
from mlops.serving.explaining import Explainer
from mlops.serving.feedback_service import FeedbackService
from mlops.serving.health import Watch
from mlops.serving.journal_limits import follow_size
from mlops.serving.listening import QuietServer, make_server
from mlops.serving.metrics import Metrics
from mlops.serving.outlier_check import OutlierCheck
from mlops.serving.past import Past
from mlops.serving.public_pages import PublicPages
from mlops.serving.recording import Recorder
from mlops.serving.request_bodies import MemoryBudget, budget_within, memory_limit
from mlops.serving.revision import load_revision
from mlops.serving.revision_switch import RevisionSwitch, keep_folders
from mlops.serving.secret_files import Secrets
from mlops.serving.shadows import Shadows
from mlops.serving.startup_messages import status_of
from mlops.serving.tls import ServerTls
from mlops.spec import metrics as families
from mlops.spec.metrics import Family
from mlops.spec.server import Launch
from mlops.spec.tls import check_revocable

if TYPE_CHECKING:
    from mlops.serving.grpc_server import GrpcServer

_LOG = logging.getLogger(__name__)
# New objects before a collection of the youngest, and collections before one of the next older.
_COLLECT_AFTER = (50_000, 20, 100)
# How long the event loop waits for the interpreter while another thread has it; Python's own 5 ms
# is the time of a hundred answers.
_SWITCH_S = 0.0005
# `mlops stop` waits longer than this and the grace together.
_LAST_COMMIT_S = 10.0
# From how many times the size that is warned of the journal takes no more features.
_MOST_OF_MAX = 10
_OPEN_DOOR = "Any client that reaches the port may call: it was started with `--insecure-no-auth`."


class Process:
    """Everything that serves one deployment in this process. Lives on one event loop.

    Args:
        launch: How to start it, with the port that it really has.
        settled: Awaited before feedback is stored and before sticky units are read, until what
            other processes answered is stored too.
        keyring: The API keys that count, as its owner knows them; None to read their file.
        secrets: The key of its request ids and its token; None to read the files of the launch.

    Raises:
        InvalidInputError: A model cannot be served.
    """

    def __init__(
        self,
        launch: Launch,
        settled: Callable[[], Awaitable[None]] | None = None,
        keyring: Keyring | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self._secrets = secrets or Secrets.of(launch)
        key = self._secrets.key
        self.gate = open_gate(launch, keyring, self._secrets.token)
        check_revocable(launch.tls, launch.grpc_port)
        self.tls = ServerTls(launch.tls) if launch.tls else None
        url = journal_url(launch.journal_url, launch.name)
        self._journal: Journal = open_journal(url)
        lease = Lease()
        keep_folders(lease, launch.served)
        live = load_revision(launch.served, known=launch.runtimes)
        # A disk that has the journal itself is no place to wait for it.
        here = journal_folder(url) is not None or launch.journal_url == NO_JOURNAL
        spool = None if here else Spool(Path(launch.state_file).parent / f"{launch.name}.spool")
        self._writer = JournalWriter(self._journal, self._learn, spool=spool)
        self._metrics = Metrics(launch.name, self._numbers)
        self._shadows = Shadows(key, self._writer, self._metrics)
        recorder = Recorder(
            self._writer,
            self._metrics,
            self._shadows,
            launch.features,
            journal_folder(url),
            Hiding(launch.hashed, launch.dropped, key),
            _MOST_OF_MAX * launch.journal_max_mb * 1_000_000,
        )
        self._limits = recorder.limits
        self.plane = DataPlane(live, key, recorder)
        self._watch = Watch(self.plane, self._metrics)
        self._consumers = ConsumerProcess(
            self._journal, launch.name, launch.journal_url, consumers_of(launch), key
        )
        self._metrics.consumers = self._consumers
        self._consuming: asyncio.Task[None] | None = None
        self._past = Past(self._journal, self._writer, launch, key)
        self._past.specs[launch.served.revision.number] = launch.served.revision.spec
        self.plane.live = self._past.recall(live)
        self._settled = settled
        self.revisions = RevisionSwitch(
            launch,
            lease,
            self.plane,
            self._past,
            self._watch,
            self._metrics,
            self._shadows,
            self._all_written,
        )
        self._writer.on_outage = lambda since_ms: self._past.record_outage(
            self.plane.live.served.revision.number, since_ms
        )
        self._writer.on_opened = lambda: self._past.record_again(self.plane.live)
        self._explainer = Explainer(self.revisions.get, launch.name, launch.journal_url)
        self._outliers = OutlierCheck(self.revisions.get)
        self._feedback = FeedbackService(
            self.plane,
            self._metrics,
            self._past.specs,
            client_ids=launch.client_ids,
            settled=settled,
            look_for=self._past.look_for,
        )
        _spare_the_collector()
        sys.setswitchinterval(_SWITCH_S)
        # Several share one limit of memory, as they share the setting.
        limit = memory_limit()
        limit = None if limit is None else limit // launch.workers
        self._limit = limit
        self._budget = MemoryBudget(budget_within(launch.max_bodies_mib * 1024 * 1024, limit))
        self._grpc: GrpcServer | None = None
        self._stopping = asyncio.Event()
        self._pages: PublicPages | None = None
        self.started_ms = 0
        #: Whether it is the one that records the end in the journal.
        self.tells = True

    @property
    def launch(self) -> Launch:
        """How it was started, with the live revision and the port that it really has."""
        return self.revisions.launch

    def application(self, counts: Callable[[], Awaitable[Counts]] | None = None) -> App:
        """Return the ASGI application of the public port.

        Args:
            counts: Gives what all processes have counted; by default this is the only one.
        """
        self._pages = pages = PublicPages(
            self.launch,
            self._journal,
            self.plane,
            self._metrics,
            self.gate,
            self._explainer,
            lambda: self._warnings(public=True),
            self._secrets.key,
            counts,
            self._writer.outage,
        )
        return App(
            self.plane,
            self._feedback,
            self._writer,
            self._metrics,
            pages.application(),
            self.gate,
            self._budget,
            Guard(self.launch.host, self.launch.hosts, secured=lambda: self.gate.required),
            self._explainer,
            self._outliers,
            pages.sessions,
        )

    def server(self, counts: Callable[[], Awaitable[Counts]] | None = None) -> QuietServer:
        """Return the server of the public port; see `application`."""
        return make_server(self.application(counts), self.tls.context if self.tls else None)

    async def listen_grpc(self, *, shared: bool = False) -> None:
        """Take calls over gRPC too, if there is a port for them; once.

        Args:
            shared: Whether other processes listen there too.

        Raises:
            ConflictError: The port is taken.
        """
        if not self.launch.grpc_port or self._grpc is not None:
            return
        # Its libraries are an extra, and take 20 MB.
        from mlops.serving.grpc_server import GrpcServer

        self._grpc = GrpcServer(
            self.plane,
            self._feedback,
            self._writer,
            self._metrics,
            self.gate,
            self._budget,
            self._limit,
            self._outliers,
        )
        credentials = self.tls.grpc_credentials() if self.tls else None
        await self._grpc.start(
            self.launch.host, self.launch.grpc_port, shared=shared, credentials=credentials
        )

    async def serve_grpc(self) -> None:
        """Run until `stop_streams`, then give the calls in progress some seconds."""
        await self._stopping.wait()
        if self._grpc is not None:
            self._grpc.stop()
            await self._grpc.serve()

    def stop_streams(self) -> None:
        """Accept no more calls over gRPC, and end what is sent to viewers of the live page."""
        self._stopping.set()
        if self._pages is not None:
            self._pages.close()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run background work until the block ends; then finish what is in progress."""
        self.revisions.start()
        work = (
            self._watch.run(),
            self._past.catch_up(self.revisions.get, self.revisions.recalled),
            follow_epochs(
                self._journal, self.revisions.get, self.revisions.redraw, self._writer.outage
            ),
            follow_size(self._journal.size_bytes, self._limits, self._writer.outage),
            follow(self.gate, [self.tls.watch] if self.tls else []),
        )
        watching = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            ending = [*watching, *([self._consuming] if self._consuming else [])]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, self.revisions.stop(), return_exceptions=True)
            self._explainer.close()
            await self._watch.close()
            self._finish()

    async def consume(self, *, begin: bool = True) -> None:
        """Start the consumers of the journal, or end them: one process runs them for all."""
        if begin and self._consuming is None:
            self._consuming = asyncio.create_task(self._consumers.run())
        if not begin and self._consuming is not None:
            self._consuming.cancel()
            self._consuming, self._consumers.progress = None, []
            self._consumers.readings = []

    def _finish(self) -> None:
        self.plane.close()
        if not self._writer.close(_LAST_COMMIT_S):
            _LOG.error("journal: no answer; %d decisions are not written", self._writer.pending)
            return
        if self.tells:
            self._past.record_stop(self.launch.served.revision.number)
        self._journal.close()

    async def note(self, text: str) -> None:
        """See `Control.note`."""
        number = self.launch.served.revision.number
        await asyncio.to_thread(self._past.record_note, number, text)

    async def score(self, rows: list[Any]) -> list[list[Any]]:
        """See `Control.score`."""
        try:
            return await asyncio.to_thread(self.plane.score, rows)
        except ProtocolError as error:
            raise InvalidInputError(error.message) from error

    async def written(self) -> None:
        """Return once what was answered so far is in the journal, or cannot be written now."""
        with contextlib.suppress(JournalUnavailableError):
            await asyncio.wrap_future(self._writer.add_outcomes([]))

    async def _all_written(self) -> None:
        """Return once what all processes answered so far is in the journal, as `written`."""
        await self.written()
        if self._settled is not None:
            await self._settled()

    def snapshot(self) -> bytes:
        """Return what was counted so far, for `unpacked`."""
        arms = self.plane.live.arms
        faults = {arm.arm.name: arm.runner.fault for arm in arms if arm.runner.fault}
        with self._metrics.lock:
            return packed(replace(self._metrics.counts(), faults=faults))

    async def status(self, counts: Counts | None = None) -> dict[str, Any]:
        """Return the server's state, as JSON data.

        Args:
            counts: What all processes have counted; by default this is the only one.
        """
        totals = await asyncio.to_thread(self._totals)
        found = counts or unpacked(self.snapshot())
        left_out = int(found.single.get(families.JOURNAL_FEATURES, 0))
        return {
            "name": self.launch.name,
            "pid": os.getpid(),
            "url": self.launch.url,
            "grpc": self.launch.grpc,
            "started_ms": self.started_ms,
            **status_of(self.plane.live, found),
            "warnings": [*self.warnings, *self._limits.warnings(left_out)],
            "journal": totals,
        }

    def _totals(self) -> dict[str, int]:
        """Count what the journal holds; nothing where it cannot be read."""
        try:
            return self._journal.totals()
        except RemoteError:
            return {}

    @property
    def warnings(self) -> list[str]:
        """What the operator should look at."""
        return self._warnings()

    def _warnings(self, *, public: bool = False) -> list[str]:
        """Return what the operator should look at.

        Args:
            public: Whether any caller may read it.
        """
        fault = self._writer.fault or self._past.fault
        why = AWAY if public else fault
        told = f"{why} Predictions go on; feedback is refused with 503 until it is back."
        open_door = [] if self.gate.required or self.launch.is_local else [_OPEN_DOOR]
        lists = self.tls.warnings if self.tls else []
        consumers = self._consumers.warnings(public=public)
        late = [self._past.warning] if self._past.warning else []
        key = [*late, *self._secrets.warnings(self.launch), *self.gate.keyring.warnings]
        return [*([told] if fault else []), *key, *open_door, *lists, *consumers]

    def _learn(self, stored: Sequence[StoredOutcome]) -> None:
        self._feedback.learn(stored)

    def _numbers(self) -> dict[Family, float]:
        return {
            families.REVISION: self.launch.served.revision.number,
            families.JOURNAL_PENDING: self._writer.pending,
            families.JOURNAL_SHED: self._writer.shed,
            families.JOURNAL_FEATURES: self._limits.left_out,
            families.SHADOW_WAITING: self._shadows.waiting,
        }


def _spare_the_collector() -> None:
    """Keep Python's cyclic collector from walking repeatedly what is permanent.

    Libraries and models are a million objects, and each full collection stops every thread for
    half a second. A body of many rows triggers several, as it makes a list for each.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def now_ms() -> int:
    """Return the time, in milliseconds since 1970 in UTC."""
    return time.time_ns() // 1_000_000
