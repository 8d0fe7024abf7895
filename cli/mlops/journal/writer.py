"""One thread that writes the journal, so that no request waits for another's commit alone.

Decisions wait a little and go in batches; outcomes go at once, and all that arrive while a commit
is under way share the next one (group commit). A decision that finds the queue full is shed and
counted; an outcome that finds it full is refused, and its sender is told so. Shadows' answers
go last, in commits of their own: their failure does not affect others.

A journal that cannot be written, say because the disk is full, is tried again at intervals. Until
it works decisions wait, on disk where the journal is on another machine, and outcomes are refused
at once: to try thousands of waiting decisions again for each piece of feedback would take the
processor from predictions.

Where one core does everything, this thread would run while requests wait: a batch takes
milliseconds, and an answer some microseconds. So it yields, as far as the system has
priorities of threads.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from mlops.errors import PUBLIC
from mlops.journal.base import ArchiveAwayError, JournalUnavailableError, Log
from mlops.journal.outage import OutageLog
from mlops.journal.records import Decision, Fact, Loss, NewOutcome, ShadowDecision, StoredOutcome
from mlops.journal.spool import Spool
from mlops.journal.waiting import LookupThread, Waiting, stand_back
from mlops.rewards.kinds import text_bytes

_LOG = logging.getLogger(__name__)
#: Longest that a decision waits to be written with others, seconds.
FLUSH_S = 0.1
_RETRY_S = 0.5
_DECISIONS_PER_COMMIT = 5_000
_OUTCOMES_PER_COMMIT = 5_000
_SHADOWS = 1_000
_SHADOWS_S = 1.0


class JournalWriter:
    """Queues in front of a journal, drained by a thread of its own.

    All methods may be called from any thread.

    Args:
        journal: Written by this thread only.
        on_stored: Called in the writer's thread after each commit with the status of each outcome.
        max_pending: Most decisions, and most outcomes, that may wait.
        max_bytes: Most bytes of request bodies whose decisions wait, and of texts in outcomes; one
            that is larger alone may wait alone.
        spool: Where decisions wait that the journal refused; they wait in memory by default.
    """

    def __init__(
        self,
        journal: Log,
        on_stored: Callable[[Sequence[StoredOutcome]], None],
        *,
        max_pending: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
        spool: Spool | None = None,
    ) -> None:
        self._journal = journal
        self._on_stored = on_stored
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._spool = spool
        self._decisions: deque[tuple[Decision, int]] = deque()
        self._decision_bytes = 0
        self._outcomes: deque[Waiting] = deque()
        # Those that have to be looked up by the caller's own id, which takes longer.
        self._named: deque[Waiting] = deque()
        self._named_are_next = False
        # Those whose requests were looked up in an archive.
        self._looked_up: deque[Waiting] = deque()
        self._lookups = LookupThread(journal, self._take_back)
        self._shadows: deque[ShadowDecision] = deque()
        # Decisions of the commit that is under way: taken from the queues, and not yet written.
        self._under_way = 0
        self._facts: list[Fact] = []
        self._waiting_outcomes = 0
        self._outcome_bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._shed_unwritten: Counter[str] = Counter()
        self.shed = 0
        self._fault: JournalUnavailableError | None = None
        self._fault_since_ms = 0
        #: Where all of this process say that the journal is away.
        self.outage = OutageLog()
        #: Whether decisions may be written; called in the writer's thread. Until then they wait.
        self.has_space: Callable[[], bool] = lambda: True
        #: Called in the writer's thread once the journal is written again, with the time at which
        #: that ended, milliseconds since 1970 in UTC.
        self.on_outage: Callable[[int], None] = lambda _since_ms: None
        #: Called in the writer's thread before a commit into what may be another journal.
        self.on_opened: Callable[[], None] = lambda: None
        self._openings = 0
        self._retry_at = 0.0
        self._shadows_at = 0.0
        self._shadows_not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def add_decision(self, decision: Decision, size: int = 0) -> bool:
        """Queue a decision; return False if it had to be shed.

        Args:
            decision: To be written.
            size: Bytes of the body it keeps, as far as is known.
        """
        with self._lock:
            room = not self._decision_bytes or self._decision_bytes + size <= self._max_bytes
            if room and len(self._decisions) < self._max_pending:
                self._decisions.append((decision, size))
                self._decision_bytes += size
                return True
        self.count_shed("decision", 1)
        return False

    def add_fact(self, fact: Fact) -> None:
        """Record something before any other decision, as soon as the journal can be written."""
        with self._lock:
            self._facts.append(fact)
        self._wake.set()

    def add_shadow(self, decision: ShadowDecision) -> None:
        """Queue what a shadow answered; it is shed, and counted, if too many wait."""
        if len(self._shadows) >= self._max_pending:
            self.count_shed("shadow", 1)
        else:
            self._shadows.append(decision)

    def add_outcomes(self, outcomes: Sequence[NewOutcome]) -> Future[list[StoredOutcome]]:
        """Queue outcomes; the future is done once they are durable.

        Its exception is a `JournalUnavailableError` if they could not be stored, or if too many
        wait already. Without outcomes it is done once the decisions that wait now are durable,
        those of one commit.
        """
        future: Future[list[StoredOutcome]] = Future()
        with self._lock:
            size = _text_in(outcomes)
            reason = self._refusal(len(outcomes), size)
            if not reason:
                self._waiting_outcomes += len(outcomes)
                self._outcome_bytes += size
                named = any(outcome.nonce is None for outcome in outcomes)
                (self._named if named else self._outcomes).append((outcomes, future))
        if reason:
            error = JournalUnavailableError(reason, hint="Send it again later.", reason=PUBLIC)
            future.set_exception(error)
        self._wake.set()
        return future

    def _refusal(self, count: int, size: int) -> str:
        """Say why `count` more outcomes of `size` bytes cannot wait; empty if they can."""
        if self._closing:
            return "The server is stopping."
        too_many = self._waiting_outcomes + count > self._max_pending
        too_many |= bool(self._outcome_bytes) and self._outcome_bytes + size > self._max_bytes
        return "Too much feedback is waiting." if too_many else ""

    def _take_back(self, waiting: Waiting, fault: JournalUnavailableError | None) -> None:
        """Go on with outcomes whose requests were looked up."""
        if fault is None:
            self._looked_up.append(waiting)
        else:
            with self._lock:
                self._waiting_outcomes -= len(waiting[0])
                self._outcome_bytes -= _text_in(waiting[0])
            _tell([waiting], fault)
        self._wake.set()

    def close(self, timeout_s: float | None = None) -> bool:
        """Write what waits, then stop. Afterwards outcomes are refused.

        Args:
            timeout_s: How long to wait for a journal that does not answer; forever by default.

        Returns:
            Whether the thread has ended, and the journal may be used by others.
        """
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def _rated(self) -> bool:
        return bool(self._outcomes or self._named or self._looked_up)

    @property
    def fault(self) -> str:
        """Why the journal cannot be written now; empty if it can."""
        fault = self._fault
        return fault.message if fault else ""

    @property
    def pending(self) -> int:
        """Decisions that are not in the journal yet, those of shadows and those on disk among them.

        Those of a commit count until it is over.
        """
        with self._lock:
            spooled = self._spool.waiting if self._spool else 0
            return self._in_memory + self._under_way + spooled

    @property
    def _in_memory(self) -> int:
        return len(self._decisions) + len(self._shadows)

    def _run(self) -> None:
        stand_back()
        while True:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            has_space = self._closing or self.has_space()
            written = self._write_batch(has_space=has_space)
            written = written and has_space and self._write_shadows()
            written = written and self._deliver()
            over = not self._rated and not self._lookups.busy
            if self._closing and over and has_space and (not written or not self._in_memory):
                break
            if self._rated or (written and len(self._decisions) >= _DECISIONS_PER_COMMIT):
                self._wake.set()
        self._record_shed()
        if self._in_memory:
            _LOG.error("journal: %d decisions could not be written", self._in_memory)

    def _write_batch(self, *, has_space: bool) -> bool:
        """Commit one batch; return False if the journal refused it.

        Args:
            has_space: Whether there is space for more decisions than those that outcomes are about.
        """
        # Outcomes first: the decisions they are about were queued before them, and so come along.
        waiting = self._take_outcomes()
        if self._fault and time.monotonic() < self._retry_at and not self._closing:
            _tell(waiting, self._fault)
            return False
        waiting = self._near(waiting)
        taken = self._take_decisions() if has_space else self._take_decisions_of(waiting)
        decisions = [decision for decision, _ in taken]
        if not decisions and not any(group for group, _ in waiting) and not self._facts:
            self._answer(waiting, [])
            return True
        try:
            self._write_facts()
            self._note_opening()
            waiting, stored = self._stored(decisions, waiting)
        except JournalUnavailableError as error:
            self._rest(taken, error)
            _tell(waiting, error)
            return False
        except Exception as error:  # noqa: BLE001 - the thread must live on; senders get the error
            _LOG.exception("journal: a batch failed")
            _tell(waiting, JournalUnavailableError(f"The journal failed: {error!r}."))
            self.count_shed("decision", len(decisions))
            self._under_way = 0
            return False
        self._under_way = 0
        self._note_success()
        self._record_shed()
        try:
            self._on_stored(stored)
        except Exception:  # noqa: BLE001 - what is stored is stored, and the thread must live on
            _LOG.exception("journal: a batch was stored but not counted")
        self._answer(waiting, stored)
        return True

    def _near(self, waiting: list[Waiting]) -> list[Waiting]:
        """Have outcomes of archived requests looked up beside this thread; return the others."""
        if not any(group for group, _ in waiting):
            return waiting
        try:
            far = iter(self._journal.far([outcome for group, _ in waiting for outcome in group]))
        except JournalUnavailableError:
            # The commit will say so.
            return waiting
        near = []
        for each in waiting:
            is_far = [next(far) for _ in each[0]]
            if any(is_far) and self._lookups.add(each):
                with self._lock:
                    self._waiting_outcomes += len(each[0])
                    self._outcome_bytes += _text_in(each[0])
            else:
                near.append(each)
        return near

    def _stored(
        self, decisions: Sequence[Decision], waiting: list[Waiting]
    ) -> tuple[list[Waiting], list[StoredOutcome]]:
        """Commit a batch; return who waits for its outcomes, with these.

        Feedback about requests in an archive that cannot be read is refused, and no other.

        Raises:
            JournalUnavailableError: Nothing was stored.
        """
        try:
            outcomes = [outcome for group, _ in waiting for outcome in group]
            return waiting, self._journal.append(decisions, outcomes)
        except ArchiveAwayError as error:
            away = [each for each in waiting if any(map(error.concerns, each[0]))]
            _tell(away, error)
            waiting[:] = [each for each in waiting if each not in away]
            if not away:
                raise
            return self._stored(decisions, waiting)

    def _deliver(self) -> bool:
        """Commit some decisions that waited on disk; return False if the journal refused them."""
        if self._spool is None or (self._fault and time.monotonic() < self._retry_at):
            return True
        refused = self._spool.refused
        try:
            if self._spool.deliver(self._append_spooled):
                self._wake.set()
        except JournalUnavailableError as error:
            self._rest([], error)
            return False
        except OSError:
            _LOG.exception("journal: decisions that wait on disk could not be read")
        self.count_shed("decision", self._spool.refused - refused)
        return True

    def _append_spooled(self, decisions: Sequence[Decision]) -> None:
        self._note_opening()
        self._journal.append(decisions, [])
        self._note_success()

    def _note_success(self) -> None:
        if self._fault:
            self.outage.back("writer")
            self._fault = None
            self.on_outage(self._fault_since_ms)

    def _note_opening(self) -> None:
        openings = self._journal.openings()
        if openings != self._openings:
            self.on_opened()
            self._openings = openings

    def _write_facts(self) -> None:
        if facts := list(self._facts):
            self._journal.record(facts)
            with self._lock:
                del self._facts[: len(facts)]

    def _take_decisions(self) -> list[tuple[Decision, int]]:
        with self._lock:
            if len(self._decisions) <= _DECISIONS_PER_COMMIT:
                # In one step: a request that adds one waits for the lock.
                taken, self._decisions = self._decisions, deque()
                self._decision_bytes = 0
            else:
                taken = deque(self._decisions.popleft() for _ in range(_DECISIONS_PER_COMMIT))
                self._decision_bytes -= sum(size for _, size in taken)
            self._under_way = len(taken)
        return list(taken)

    def _take_decisions_of(self, waiting: Sequence[Waiting]) -> list[tuple[Decision, int]]:
        """Take what outcomes need: the decisions they are about; all, where none are named."""
        if not waiting:
            return []
        if not all(group for group, _ in waiting):
            return self._take_decisions()
        outcomes = [outcome for group, _ in waiting for outcome in group]
        nonces = {outcome.nonce for outcome in outcomes}
        names = {outcome.client_id for outcome in outcomes} - {None}
        taken: list[tuple[Decision, int]] = []
        left: deque[tuple[Decision, int]] = deque()
        with self._lock:
            for each in self._decisions:
                is_theirs = each[0].nonce in nonces or each[0].client_id in names
                (taken if is_theirs else left).append(each)
            self._decisions = left
            self._decision_bytes -= sum(size for _, size in taken)
            self._under_way = len(taken)
        return taken

    def _write_shadows(self) -> bool:
        """Commit what shadows answered; return False if the journal refused it."""
        now = time.monotonic()
        # Feedback goes first, but not forever.
        wait_for = self._shadows_at if self._rated else self._shadows_not_before
        if not self._shadows or (now < wait_for and not self._closing):
            return True
        with self._lock:
            taken = [self._shadows.popleft() for _ in range(min(len(self._shadows), _SHADOWS))]
            self._under_way = len(taken)
        self._shadows_at = now + _SHADOWS_S
        try:
            self._journal.record(taken)
        except JournalUnavailableError as error:
            self.outage.away("shadows", error)
            with self._lock:
                self._shadows.extendleft(reversed(taken))
                self._under_way = 0
            self._shadows_not_before = now + _RETRY_S
            return False
        except Exception:  # noqa: BLE001 - the thread must live on
            _LOG.exception("journal: a batch of answers of shadows failed")
            self.count_shed("shadow", len(taken))
        self._under_way = 0
        self.outage.back("shadows")
        return True

    def _take_outcomes(self) -> list[Waiting]:
        taken: list[Waiting] = []
        count = size = 0
        with self._lock:
            # In turns: no writer waits for more than one commit of the others.
            queue = self._named if self._named_are_next else self._outcomes
            queue = self._looked_up or queue or self._named or self._outcomes
            self._named_are_next = queue is self._outcomes
            while queue and (not taken or count < _OUTCOMES_PER_COMMIT):
                group, future = queue.popleft()
                count += len(group)
                size += _text_in(group)
                # A sender that went away may not cancel any more once its outcomes are taken.
                if queue is self._looked_up or future.set_running_or_notify_cancel():
                    taken.append((group, future))
            self._waiting_outcomes -= count
            self._outcome_bytes -= size
        return taken

    def _rest(self, decisions: list[tuple[Decision, int]], fault: JournalUnavailableError) -> None:
        """Keep the decisions for the next try as far as there is room, and wait with it."""
        # Tried twice a second: a disk that is full all night must not be filled with log lines.
        self.outage.away("writer", fault)
        if self._fault is None:
            self._fault_since_ms = time.time_ns() // 1_000_000
        self._fault, self._retry_at = fault, time.monotonic() + _RETRY_S
        if self._spool and self._spool.put([decision for decision, _ in decisions]):
            self._under_way = 0
            return
        with self._lock:
            room = max(0, self._max_pending - len(self._decisions))
            space = self._max_bytes - self._decision_bytes
            sizes = itertools.accumulate(size for _, size in decisions)
            fit = sum(1 for total in sizes if total <= space)
            kept = decisions[: min(room, max(fit, int(not self._decisions)))]
            self._decisions.extendleft(reversed(kept))
            self._decision_bytes += sum(size for _, size in kept)
            self._under_way = 0
        self.count_shed("decision", len(decisions) - len(kept))

    def count_shed(self, kind: str, count: int) -> None:
        """Count rows of a kind that were shed; recorded with the next batch.

        Args:
            kind: As of a `Loss`.
            count: How many.
        """
        with self._lock:
            self.shed += count if kind == "decision" else 0
            self._shed_unwritten[kind] += count

    def _record_shed(self) -> None:
        with self._lock:
            unwritten, self._shed_unwritten = +self._shed_unwritten, Counter()
        for kind, count in unwritten.items():
            try:
                self._journal.record([Loss(kind, count, time.time_ns() // 1_000_000)])
            except Exception:  # noqa: BLE001 - the count is kept and written with the next batch
                with self._lock:
                    self._shed_unwritten[kind] += count

    @staticmethod
    def _answer(waiting: list[Waiting], stored: list[StoredOutcome]) -> None:
        start = 0
        for group, future in waiting:
            future.set_result(stored[start : start + len(group)])
            start += len(group)


def _text_in(outcomes: Sequence[NewOutcome]) -> int:
    """Bytes of the texts in outcomes, about; whatever else is in them has a size of its own."""
    return sum(text_bytes(each.truth) for each in outcomes)


def _tell(waiting: list[Waiting], error: JournalUnavailableError) -> None:
    for _, future in waiting:
        future.set_exception(error)
