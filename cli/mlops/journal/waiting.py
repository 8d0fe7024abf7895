"""Outcomes that wait until the archive has been read for them, in a thread beside the writer's."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeAlias
from weakref import WeakSet

from mlops.journal.base import JournalUnavailableError, Log
from mlops.journal.records import NewOutcome, StoredOutcome

#: Outcomes that came together, and what their sender waits for.
Waiting: TypeAlias = tuple[Sequence[NewOutcome], "Future[list[StoredOutcome]]"]

# A share of a busy core is then a quarter, several times what such a thread needs.
_NICE = 5
_LOG = logging.getLogger(__name__)


class LookupThread:
    """Looks requests of outcomes up, one group after the other; the thread starts when it must.

    Args:
        journal: Has the archive.
        done: Called in this thread with what was looked up, or why it could not be.
    """

    def __init__(
        self, journal: Log, done: Callable[[Waiting, JournalUnavailableError | None], None]
    ) -> None:
        self._journal, self._done = journal, done
        self._queue: SimpleQueue[Waiting] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._tried: WeakSet[Future[list[StoredOutcome]]] = WeakSet()
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether some are looked up now."""
        return self._waiting > 0

    def add(self, waiting: Waiting) -> bool:
        """Look some up; return False if they were before, and what was found is gone again."""
        if waiting[1] in self._tried:
            return False
        self._tried.add(waiting[1])
        with self._lock:
            self._waiting += 1
        self._queue.put(waiting)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
            self._thread.start()
        return True

    def _run(self) -> None:
        stand_back()
        while True:
            waiting = self._queue.get()
            fault: JournalUnavailableError | None = None
            try:
                self._journal.look_up(waiting[0])
            except JournalUnavailableError as error:
                fault = error
            except Exception as error:  # noqa: BLE001 - the thread must live on
                _LOG.exception("journal: an archived request could not be looked up")
                fault = JournalUnavailableError(f"The archive cannot be read: {error!r}.")
            self._done(waiting, fault)
            with self._lock:
                self._waiting -= 1


def stand_back() -> None:
    """Lower the priority of this thread."""
    # Only Linux has it for a thread; elsewhere it would be the whole process.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            nice = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(nice + _NICE, 19))
