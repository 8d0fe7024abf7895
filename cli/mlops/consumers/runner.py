"""Feeding one consumer from the journal, from its offset on, until it is stopped."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mlops.consumers.base import Batch, Consumed, Consumer
from mlops.errors import MlopsError, RemoteError
from mlops.journal.base import Journal
from mlops.journal.consumer_records import Offset, Progress
from mlops.journal.outage import OutageLog
from mlops.journal.records import Observation

_LOG = logging.getLogger(__name__)
#: Most decisions, and most outcomes, of a batch.
LIMIT = 5_000
_POLL_S = 1.0
#: An empty batch comes after so long without events.
HEARTBEAT_S = 20.0
_LEASE_MS, _RENEW_S = 30_000, 10.0
_RELEASED_MS = -1
_LONGEST_CLAIM_PAUSE_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_MAX_FAULT = 500
# No database takes all of these in a text.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


class Runner:
    """Runs one consumer. Its methods are called by one thread, but for `stop`.

    Args:
        journal: Where the events are.
        name: Name of the consumer, under which it is known in the journal.
        consumer: Takes them.
        owner: Distinguishes this runner from others that may work for the same consumer.
        clock: Seconds since 1970.
        outage: Where all runners of this process say that the journal is away.
    """

    def __init__(
        self,
        journal: Journal,
        name: str,
        consumer: Consumer,
        owner: str,
        clock: Callable[[], float] = time.time,
        outage: OutageLog | None = None,
    ) -> None:
        self._journal = journal
        self._name = name
        self._consumer = consumer
        self._owner = owner
        self._clock = clock
        self._outage = outage or OutageLog()
        self._stopped = threading.Event()
        self._pause_s = _FIRST_PAUSE_S
        self._quiet_until = 0.0
        self._known: Progress | None = None
        self._renew_at = 0.0
        self._limit: int = getattr(consumer, "at_once", LIMIT)
        self._wait_s: float = getattr(consumer, "wait_s", 0.0)
        self._join_ms: float = getattr(consumer, "join_s", 0.0) * 1000
        self._waits_since = 0.0

    def run(self) -> None:
        """Run until `stop`."""
        while not self._stopped.is_set():
            try:
                pause_s = self.step()
                self._outage.back(self._name)
            except RemoteError as error:
                self._outage.away(self._name, error)
                pause_s = self._longer()
            except Exception:  # noqa: BLE001 - of the database's driver
                # The others work on in their threads; this one must not end without a word.
                _LOG.exception("%s: the journal cannot be used", self._name)
                pause_s = self._longer()
            if pause_s:
                self._stopped.wait(pause_s)
        self._outage.back(self._name)
        try:
            self._consumer.close()
        except Exception:  # noqa: BLE001 - a consumer may raise anything
            _LOG.exception("%s: it does not close", self._name)
        self._release()

    def stop(self) -> None:
        """End after the batch under way; called from any thread."""
        self._stopped.set()

    def step(self) -> float:
        """Give the consumer its next batch, if there is one.

        Returns:
            Seconds to wait before the next step.

        Raises:
            RemoteError: The journal cannot be used.
        """
        known = self._claim()
        if known is None:
            return min(self._longer(), _LONGEST_CLAIM_PAUSE_S)
        end = self._journal.end()
        # Reading what is not used would take as long as storing it did.
        after = end if getattr(self._consumer, "looks_only", False) else known.offset
        if self._wait_s and self._may_wait(after, end):
            return _POLL_S
        decisions = self._journal.decisions(after.decisions, end.decisions, self._limit)
        outcomes, upto = self._journal.outcomes(after.outcomes, end.outcomes, self._limit)
        joined = self._joined(outcomes)
        if joined < len(outcomes):
            end = Offset(end.decisions, outcomes[joined].seq - 1)
        batch = Batch(decisions, outcomes[:joined])
        last = int(decisions.seqs[-1]) if len(decisions) else end.decisions
        offset = Offset(last, min(upto, end.outcomes))
        if not batch and self._clock() < self._quiet_until and offset == known.offset:
            return _POLL_S
        heartbeat_s = getattr(self._consumer, "heartbeat_s", HEARTBEAT_S)
        self._quiet_until = self._clock() + heartbeat_s
        return self._give(batch, known, offset, behind=offset != end)

    def _joined(self, outcomes: Sequence[Observation]) -> int:
        """Return how many outcomes are before the first whose decision may still come."""
        now_ms = self._now_ms()
        for index, seen in enumerate(outcomes):
            if seen.may_join(now_ms, self._join_ms):
                return index
        return len(outcomes)

    def _may_wait(self, after: Offset, end: Offset) -> bool:
        """Whether a batch is not full yet, and its first event has not waited long enough."""
        if end == after:
            self._waits_since = 0.0
            return False
        self._waits_since = self._waits_since or self._clock()
        most = max(end.decisions - after.decisions, end.outcomes - after.outcomes)
        return most < self._limit and self._clock() < self._waits_since + self._wait_s

    def _claim(self) -> Progress | None:
        """Return the consumer's progress; read the journal only when its lease gets old."""
        if self._known is not None and self._clock() < self._renew_at:
            return self._known
        begin = self._known is None and self._consumer.start == "end"
        start = Progress(self._name, self._journal.end() if begin else Offset(), self._now_ms())
        self._known = self._journal.claim(start, self._owner, self._now_ms(), _LEASE_MS)
        self._renew_at = self._clock() + _RENEW_S
        return self._known

    def _release(self) -> None:
        """Let the next runner begin at once instead of when the lease has expired."""
        if self._known is None:
            return
        try:
            self._journal.advance(self._known, self._owner, self._now_ms(), _RELEASED_MS)
        except Exception as error:  # noqa: BLE001 - of the database's driver; the lease expires
            _LOG.info("%s: the lease is not released: %s", self._name, error)

    def _give(self, batch: Batch, known: Progress, offset: Offset, *, behind: bool) -> float:
        try:
            consumed = self._consumer.consume(batch)
        except Exception as error:  # noqa: BLE001 - a consumer may raise anything
            fault = _clean(error.message if isinstance(error, MlopsError) else repr(error))
            if fault != known.fault:
                _LOG.warning("%s: a batch of %d events: %s", self._name, len(batch), fault)
            offset = self._taken(known.offset)
            self._store(replace(known, offset=offset, failed=known.failed + 1, fault=fault))
            self._quiet_until = 0.0
            return self._longer()
        self._pause_s = _FIRST_PAUSE_S
        # What a batch had no room for has waited as long.
        self._waits_since = self._waits_since if behind else 0.0
        self._store(_after(known, consumed.offset or offset, consumed))
        return 0.0 if behind or consumed.behind else _POLL_S

    def _taken(self, offset: Offset) -> Offset:
        """Return how far a consumer that fails is, which may have begun before its offset."""
        outcomes: int | None = getattr(self._consumer, "taken_outcomes", None)
        if outcomes is None:
            return offset
        return offset._replace(outcomes=min(offset.outcomes, outcomes))

    def _store(self, progress: Progress) -> None:
        """Store the consumer's offset; if another runner took over, the batch is done twice."""
        now_ms = self._now_ms()
        step = replace(progress, time_ms=now_ms)
        if self._journal.advance(step, self._owner, now_ms, _LEASE_MS):
            self._known, self._renew_at = step, self._clock() + _RENEW_S
        else:
            self._known = None
            _LOG.warning("%s: another process has taken over", self._name)

    def _longer(self) -> float:
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return pause_s

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _after(known: Progress, offset: Offset, consumed: Consumed) -> Progress:
    return replace(
        known,
        offset=offset,
        sent=known.sent + consumed.sent,
        dropped=known.dropped + consumed.dropped,
        fault="",
        warning=_clean(consumed.warning),
    )


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)[:_MAX_FAULT]
