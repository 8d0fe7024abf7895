"""One server process: put the parts together, run them, stop them in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from mlops.errors import ConflictError, InvalidInputError, MlopsError, RemoteError
from mlops.journal.base import Journal
from mlops.journal.nothing import open_journal
from mlops.journal.records import Progress, StoredOutcome
from mlops.journal.url import journal_url
from mlops.journal.writer import JournalWriter
from mlops.registry.holding import Hold
from mlops.serving.admin import Admin
from mlops.serving.app import App, Application
from mlops.serving.bodies import BodyRoom, memory_limit, room_within
from mlops.serving.browsers import Guard
from mlops.serving.consumer_process import ConsumerProcess, consumers_of
from mlops.serving.dataplane import DataPlane
from mlops.serving.metrics import Metrics
from mlops.serving.outcomes import OutcomeDesk
from mlops.serving.pages import Pages
from mlops.serving.past import Past
from mlops.serving.patience import PatientProtocol
from mlops.serving.recording import Recorder
from mlops.serving.report import PAGES, LiveReport
from mlops.serving.revision import LiveRevision, load_revision
from mlops.serving.same_rows import SameRows
from mlops.serving.shadow_models import LiveShadow
from mlops.serving.shadows import Shadows
from mlops.serving.watching import Watch
from mlops.spec import metrics as families
from mlops.spec.metrics import Family
from mlops.spec.request_id import KEY_BYTES
from mlops.spec.server import (
    Holder,
    Launch,
    Served,
    ServerState,
    check_grpc,
    state_to_dict,
    write_holder,
    write_state,
)

if TYPE_CHECKING:
    from mlops.serving.grpc_server import GrpcServer

_LOG = logging.getLogger(__name__)
_FIRST_PORT, _LAST_PORT = 8080, 8180
_GRACE_S = 5
# New objects before a collection of the youngest, and collections before one of the next older.
_COLLECT_AFTER = (50_000, 20, 100)
# `mlops stop` waits longer than this and the grace together.
_LAST_COMMIT_S = 10.0


class Process:
    """A running server of one deployment.

    Args:
        launch: How to start it.

    Raises:
        ConflictError: The port is taken.
        InvalidInputError: A model cannot be served.
    """

    def __init__(self, launch: Launch) -> None:
        # Bound before the models are loaded: a taken port should be known at once.
        self._socket = _bind(launch.host, launch.port)
        self._launch = replace(launch, port=self._socket.getsockname()[1])
        if launch.grpc_port:
            check_grpc()
            _bind(launch.host, launch.grpc_port, "--grpc-port").close()
        key = _read_key(launch.key_file)
        self._token = _read_token(launch.token_file)
        self._journal: Journal = open_journal(journal_url(launch.journal_url, launch.name))
        self._hold = Hold()
        self._keep(launch.served)
        live = load_revision(launch.served)
        self._writer = JournalWriter(self._journal, self._learn)
        self._metrics = Metrics(launch.name, self._numbers)
        self._shadows = Shadows(key, self._writer, self._metrics)
        recorder = Recorder(self._writer, self._metrics, self._shadows, launch.features)
        self._plane = DataPlane(live, key, recorder)
        self._same_rows = SameRows(self._plane)
        self._watch = Watch(self._plane, self._metrics)
        self._consumers = ConsumerProcess(
            self._journal, launch.name, launch.journal_url, consumers_of(launch)
        )
        self._metrics.consumers = self._consumers
        self._past = Past(self._journal, self._writer)
        self._plane.live = self._past.recall(live)
        self._desk = OutcomeDesk(
            self._plane, self._metrics, self._past.specs, client_ids=launch.client_ids
        )
        _spare_the_collector()
        self._started_ms = 0
        self._rollout: asyncio.Task[None] | None = None
        self._servers: list[uvicorn.Server] = []
        self._grpc: list[GrpcServer] = []

    def _live(self, name: str) -> LiveReport:
        """Return what writes a page about the journal."""
        alpha, baseline = self._launch.alpha, self._launch.baseline
        return LiveReport(
            self._journal, alpha, baseline, self._same_rows, load=lambda: PAGES.load(name)
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        pages = Pages(
            self._plane,
            self._metrics,
            lambda: self._request(self._plane.live),
            secured=bool(self._token),
            report=self._live("report"),
            evidence=self._live("evidence"),
        )
        room = BodyRoom(room_within(self._launch.max_bodies_mib * 1024 * 1024, memory_limit()))
        app = App(
            self._plane,
            self._desk,
            self._writer,
            self._metrics,
            pages.application(),
            self._token,
            room,
            Guard(self._launch.host, self._launch.hosts, secured=bool(self._token)),
        )
        admin = Admin(
            self._status, self._swap, self._note, self._plane.score, self._totals, self._rewritten
        )
        public, private = _server(app), _server(admin.application())
        self._servers = [public, private]
        self._adopt(self._plane.live)
        work = (
            self._watch.run(),
            self._consumers.run(),
            self._past.catch_up(self._get, self._recalled),
        )
        watching = [asyncio.create_task(each) for each in work]
        await self._start_grpc(room)
        with _unix_socket(Path(self._launch.socket)) as control:
            self._started_ms = _now_ms()
            self._past.record_start(self._plane.live)
            self._tell()
            state = self._state(None)
            at = f"{state.url} and, for gRPC, {state.grpc}" if state.grpc else state.url
            _LOG.info("serving %s at %s", self._launch.name, at)
            self._begin_rollout()
            try:
                serving = [public.serve([self._socket]), private.serve([control])]
                await asyncio.gather(*serving, *(each.serve() for each in self._grpc))
            finally:
                for task in (*watching, self._rollout):
                    if task is not None:
                        task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
                await self._watch.close()
                self._finish()

    async def _start_grpc(self, room: BodyRoom) -> None:
        if not self._launch.grpc_port:
            return
        # Its libraries are an extra, and take 20 MB.
        from mlops.serving.grpc_server import GrpcServer

        server = GrpcServer(self._plane, self._desk, self._writer, self._metrics, self._token, room)
        await server.start(self._launch.host, self._launch.grpc_port)
        self._grpc.append(server)

    def _stop(self) -> None:
        for server in self._servers:
            server.should_exit = True
        for grpc_server in self._grpc:
            grpc_server.stop()

    def _finish(self) -> None:
        self._plane.close()
        written = self._writer.close(_LAST_COMMIT_S)
        stopped_ms = _now_ms()
        if written:
            self._past.record_stop(self._launch.served.revision.number)
            self._journal.close()
        else:
            _LOG.error("journal: no answer; %d decisions are not written", self._writer.pending)
        with contextlib.suppress(MlopsError):  # a full disk; the lock says the same
            write_state(self._state(stopped_ms), Path(self._launch.state_file))
        _LOG.info("stopped")

    def _get(self) -> LiveRevision:
        return self._plane.live

    def _put(self, live: LiveRevision) -> None:
        self._plane.live = live

    def _recalled(self, live: LiveRevision) -> None:
        self._plane.live = live
        self._begin_rollout()

    def _tell(self) -> None:
        """Say in files that the server is ready and how it is reached."""
        write_holder(Path(self._launch.lock_file), Holder(os.getpid(), self._launch.socket))
        try:
            write_state(self._state(None), Path(self._launch.state_file))
        except MlopsError as error:
            # Whoever looks for the server finds it by its lock.
            _LOG.warning("%s", error.message)

    def _rewritten(self) -> dict[str, Any]:
        """Say what the state file says to somebody who does not find it, and write it again."""
        self._tell()
        return state_to_dict(self._state(None))

    async def _swap(self, served: Served) -> None:
        self._keep(self._launch.served, served)
        try:
            await self._make_live(served)
        finally:
            self._keep(self._launch.served)

    def _keep(self, *served: Served) -> None:
        """Let nobody remove the folders of these, and of no others: models read on from them."""
        folders = [Path(path) for each in served for path in each.paths if path]
        for folder in folders:
            self._hold.take(folder)
        self._hold.keep(folders)

    async def _make_live(self, served: Served) -> None:
        """Load beside the live revision, write it down, then move one pointer."""
        live = await asyncio.to_thread(load_revision, served, self._plane.live)
        live = await asyncio.to_thread(self._past.with_first_arms, live)
        # Before it answers anybody: a report could not read the evidence of a revision that the
        # journal does not know.
        await asyncio.to_thread(self._past.record_live, live)
        before = self._plane.live, self._launch
        self._plane.live, self._launch = live, replace(self._launch, served=served)
        try:
            write_state(self._state(None), Path(self._launch.state_file))
        except MlopsError:
            # There was no await in between, so no request has seen it.
            self._plane.live, self._launch = before
            self._watch.retire(live, before[0])
            raise
        self._adopt(live)
        self._watch.retire(before[0], live)
        self._begin_rollout()
        _LOG.info("revision %d is live", served.revision.number)

    def _begin_rollout(self) -> None:
        if self._rollout is not None:
            self._rollout.cancel()
        self._rollout = asyncio.create_task(self._past.follow_rollout(self._get, self._put))

    def _adopt(self, live: LiveRevision) -> None:
        """Let shadows and endpoints work for `live`, on this event loop."""
        for remote in live.remotes:
            remote.attach()
        self._shadows.adopt(live)
        self._metrics.adopt(live.served.revision)
        self._metrics.runners = {
            (arm.arm.name, arm.arm.model.label): arm.runner.stats for arm in live.arms
        }

    def _note(self, text: str) -> None:
        self._past.record_note(self._launch.served.revision.number, text)

    def _learn(self, stored: Sequence[StoredOutcome]) -> None:
        self._desk.learn(stored)

    def _numbers(self) -> dict[Family, float]:
        return {
            families.REVISION: self._launch.served.revision.number,
            families.JOURNAL_PENDING: self._writer.pending,
            families.JOURNAL_SHED: self._writer.shed,
            families.SHADOW_WAITING: self._shadows.waiting,
        }

    def _status(self) -> dict[str, Any]:
        live = self._plane.live
        arms = []
        for arm in live.arms:
            counters = self._metrics.arm(arm.arm.name, arm.arm.model.label)
            arms.append(
                {
                    "name": arm.arm.name,
                    "version": arm.arm.model.label,
                    "weight": arm.arm.weight,
                    "path_taken": arm.loaded.path_taken,
                    "runtime": arm.loaded.runtime,
                    "up": arm.remote.up if arm.remote else None,
                    "runner": arm.runner.kind,
                    "waiting": arm.runner.stats.waiting,
                    "running": arm.runner.stats.running,
                    "fault": arm.runner.fault or None,
                    "requests": sum(counters.codes.values()),
                    "refused": sum(n for code, n in counters.codes.items() if 400 <= code < 500),
                    "errors": sum(n for code, n in counters.codes.items() if code >= 500),
                    "rewards": counters.rewards,
                }
            )
        return {
            "name": self._launch.name,
            "pid": os.getpid(),
            "revision": live.served.revision.number,
            "url": self._state(None).url,
            "grpc": self._state(None).grpc,
            "started_ms": self._started_ms,
            "arms": arms,
            "shadows": [self._shadow_status(shadow) for shadow in live.shadows],
            "feedback": dict(self._metrics.feedback),
            "pending": self._writer.pending,
            "shed": self._writer.shed,
            "consumers": [_consumer_status(each) for each in self._consumers.progress],
            "warnings": self._warnings(),
        }

    def _warnings(self) -> list[str]:
        fault = self._writer.fault or self._past.fault
        told = f"{fault} Predictions go on; feedback is refused with 503 until it is back."
        return [*([told] if fault else []), *self._consumers.warnings]

    def _totals(self) -> dict[str, int]:
        """Count what the journal holds; nothing where it cannot be read."""
        try:
            return self._journal.totals()
        except RemoteError:
            return {}

    def _shadow_status(self, shadow: LiveShadow) -> dict[str, Any]:
        spec = shadow.shadow
        with self._metrics.lock:
            counters = self._metrics.shadow(spec.name, spec.model.label)
            return {
                "name": spec.name,
                "version": spec.model.label,
                "share": spec.share,
                "requests": sum(counters.codes.values()),
                "errors": sum(n for code, n in counters.codes.items() if code >= 500),
                "dropped": counters.dropped,
            }

    def _state(self, stopped_ms: int | None) -> ServerState:
        live = self._plane.live
        return ServerState(
            launch=self._launch,
            pid=os.getpid(),
            started_ms=self._started_ms,
            stopped_ms=stopped_ms,
            notes=(
                *(arm.loaded.notes for arm in live.arms),
                *(shadow.notes for shadow in live.shadows),
            ),
            request=self._request(live),
            runtimes=tuple(arm.loaded.runtime for arm in live.arms),
        )

    @staticmethod
    def _request(live: LiveRevision) -> dict[str, Any] | None:
        for arm in live.arms:
            if arm.loaded.example is not None:
                return arm.loaded.example
        return None


def _consumer_status(progress: Progress) -> dict[str, Any]:
    return {
        "name": progress.name,
        "lag_events": progress.lag_events,
        "lag_seconds": progress.lag_seconds,
        "sent": progress.sent,
        "failed": progress.failed,
        "dropped": progress.dropped,
        "fault": progress.fault or None,
    }


def _spare_the_collector() -> None:
    """Keep Python's cyclic collector from walking again and again what stays for good.

    Libraries and models are a million objects, and each full collection holds every thread up for
    half a second. A body of many rows brings one about several times, as it makes a list for each.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether uvicorn says something; of its start and end we tell once for both servers."""
    return not record.getMessage().startswith(("Started server", "Finished server"))


class _Quiet(uvicorn.Server):
    """A server that leaves the process's signals to us: two of them share one loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Application) -> uvicorn.Server:
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return _Quiet(
        uvicorn.Config(
            app,
            loop="none",
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            server_header=False,
            log_config=None,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


def _bind(host: str, port: int, option: str = "--port") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in [port] if port else range(_FIRST_PORT, _LAST_PORT):
        try:
            return socket.create_server((host, candidate), family=family, backlog=2048)
        except OSError as error:
            reason = error
    raise ConflictError(
        f"Port {port or f'{_FIRST_PORT} to {_LAST_PORT - 1}'} on {host} cannot be used: {reason}.",
        hint=f"Choose another with `{option}`.",
    )


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on a socket that only this user can open."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        control.bind(str(path))
    finally:
        os.umask(before)
    control.listen(16)
    try:
        yield control
    finally:
        control.close()
        path.unlink(missing_ok=True)


def _read_token(path: str) -> str:
    if not path:
        return ""
    token = _read_secret(path).decode("utf-8", "replace").strip()
    if len(token) < 16:
        raise InvalidInputError(f"The token in `{path}` is too short; use 16 characters or more.")
    return token


def _read_key(path: str) -> bytes:
    key = _read_secret(path)
    if len(key) != KEY_BYTES:
        raise InvalidInputError(f"The key in `{path}` has {len(key)} bytes, not {KEY_BYTES}.")
    return key


def _read_secret(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"`{path}` cannot be read: {error.strerror}.") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
