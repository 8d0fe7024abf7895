"""Shadows: models that get copies of requests, off the path of every answer.

A copy is queued after its request has been answered. Each shadow has a short queue and workers of
its own; a copy that finds the queue full is dropped and counted, so that a slow shadow sees fewer
requests and costs no more. What shadows answer goes into a table of its own in the journal and into
series of its own in the metrics.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlops.journal.records import ShadowDecision, dropped_copies
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import InferenceRequest, Kind, ProtocolError
from mlops.protocols.http_status import http_status
from mlops.protocols.predictions import rows_of
from mlops.serving.metrics import ArmCounters, Metrics
from mlops.serving.revision import LiveRevision
from mlops.serving.shadow_models import LiveShadow

_LOG = logging.getLogger(__name__)
_MAX_WAITING = 256
_MAX_BYTES = 64 * 1024 * 1024
# After an endpoint said that it is not ready.
_PAUSE_S = 0.5
_FULL = 2**64


@dataclass(frozen=True, slots=True)
class _Copy:
    nonce: bytes
    revision: int
    request: InferenceRequest
    size: int


class _Worker:
    """The queue of one shadow and the threads that empty it."""

    def __init__(
        self,
        live: LiveShadow,
        answer: Callable[[_Worker, _Copy], bool],
        counters: ArmCounters,
        max_waiting: int,
    ) -> None:
        self.live = live
        self.counters = counters
        self._answer = answer
        self._queue: queue.Queue[_Copy | None] = queue.Queue(max_waiting)
        self._bytes = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        for number in range(live.at_once):
            name = f"shadow-{live.shadow.name}-{number}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def waiting(self) -> int:
        # Those that are being asked among them.
        return self._queue.unfinished_tasks

    def offer(self, copy: _Copy) -> bool:
        with self._lock:
            # One that is larger than the limit may be queued alone.
            if self._bytes and self._bytes + copy.size > _MAX_BYTES:
                return False
            try:
                self._queue.put_nowait(copy)
            except queue.Full:
                return False
            self._bytes += copy.size
        return True

    def end(self) -> None:
        """Drop what waits; the threads end after their current copy."""
        self._ended.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for _ in range(self.live.at_once):
            self._queue.put_nowait(None)

    def _run(self) -> None:
        while (copy := self._queue.get()) is not None and not self._ended.is_set():
            try:
                if not self._answer(self, copy):
                    self._ended.wait(_PAUSE_S)
            except Exception:  # noqa: BLE001 - an internal error in a thread that must live on
                _LOG.exception("shadow %s", self.live.shadow.name)
            with self._lock:
                self._bytes -= copy.size
            self._queue.task_done()


class Shadows:
    """Every shadow of the live revision.

    `adopt`, `offer` and `close` are called on the event loop only.

    Args:
        key: The deployment's key; decides which requests are copied.
        writer: Takes what shadows answered.
        metrics: Takes the counts.
        max_waiting: Most copies that may wait for one shadow.
    """

    def __init__(
        self,
        key: bytes,
        writer: JournalWriter,
        metrics: Metrics,
        *,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        self._key = key
        self._writer = writer
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._workers: dict[LiveShadow, _Worker] = {}

    def adopt(self, live: LiveRevision) -> None:
        """Work for the shadows of `live` from now on, and for no other."""
        for shadow in set(self._workers).difference(live.shadows):
            self._workers.pop(shadow).end()
        for shadow in live.shadows:
            if shadow not in self._workers:
                counters = self._metrics.shadow(shadow.shadow.name, shadow.shadow.model.label)
                self._workers[shadow] = _Worker(shadow, self._ask, counters, self._max_waiting)

    def offer(
        self,
        live: LiveRevision,
        request: InferenceRequest,
        nonce: bytes,
        unit: bytes | None,
        size: int,
    ) -> None:
        """Copy a request that has been answered to the shadows whose share it falls into.

        The same request, and the same sticky unit, is copied each time or never.

        Args:
            live: The revision that answered it.
            request: What was asked.
            nonce: Identity of its decision.
            unit: Its sticky unit, if it has one.
            size: Bytes of its body.
        """
        for shadow in live.shadows:
            worker = self._workers.get(shadow)
            if worker is None or not self._falls_to(shadow, unit or nonce):
                continue
            if not worker.offer(_Copy(nonce, live.served.revision.number, request, size)):
                worker.counters.dropped += 1
                kind = dropped_copies(shadow.shadow.name, shadow.shadow.model.label)
                self._writer.count_shed(kind, 1)

    @property
    def waiting(self) -> int:
        """Copies that wait for an answer."""
        return sum(worker.waiting for worker in self._workers.values())

    def close(self) -> None:
        """Drop what waits."""
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()

    def _falls_to(self, shadow: LiveShadow, identity: bytes) -> bool:
        share = shadow.shadow.share
        if share >= 1:
            return True
        # A salt of its own, or the shadow would see the requests of one arm and not of the other.
        person = shadow.shadow.name.encode()[:16]
        digest = hashlib.blake2b(identity, key=self._key, person=person, digest_size=8).digest()
        return int.from_bytes(digest, "big") < share * _FULL

    def _ask(self, worker: _Worker, copy: _Copy) -> bool:
        """Call a shadow, in a thread of its own, and record its answer.

        Returns:
            Whether it may be asked again at once.
        """
        live = worker.live
        started_ns = time.perf_counter_ns()
        predictions: list[Any] | None = None
        status = 200
        try:
            prediction = live.model.predict(copy.request.payload, copy.request.parameters)
            predictions = rows_of(prediction, copy.request.n_rows)
        except ProtocolError as error:
            status = http_status(error.kind)
        elapsed_ns = time.perf_counter_ns() - started_ns
        with self._metrics.lock:
            worker.counters.count(status, copy.request.n_rows, elapsed_ns / 1e9, forced=False)
        self._writer.add_shadow(
            ShadowDecision(
                nonce=copy.nonce,
                revision=copy.revision,
                shadow=live.index,
                time_ms=time.time_ns() // 1_000_000,
                latency_us=elapsed_ns // 1000,
                status=status,
                predictions=predictions,
            )
        )
        return status != http_status(Kind.NOT_READY)
