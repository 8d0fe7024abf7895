"""What the consumers that watch a deployment have in common.

Each is a fold of the journal that is kept in the journal, so that it continues where it was after a
restart, and on another machine. Every few seconds it stores what it knows together with its
readings for `/metrics`, and raises alarms, each once.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from mlops.consumers.base import Batch, Consumed, Context
from mlops.errors import RemoteError
from mlops.journal.consumer_records import Alarm, Offset, Reading
from mlops.journal.memory import READINGS, as_document
from mlops.spec.deployment import Arm
from mlops.spec.server import read_state

_AT_ONCE = 20_000
_SAVE_EVERY_S = 5.0
# What is known of thousands of features takes long to store: the pause is so many times as long.
_PAUSE = 10.0
# A runner that has the lease calls at least every 20 s; after a longer silence another process may
# have gone on from what was stored.
_SILENT_S = 45.0


class Fold(Protocol):
    """What was seen of the models that are live."""

    @property
    def offset(self) -> int:
        """Last row of its log that all models have seen."""
        ...

    def follow(self) -> bool:
        """Watch what is live now; return whether anything is."""
        ...

    def read(self, end: int, limit: int) -> int:
        """Read on; return how many rows that were."""
        ...

    def save(self, now_ms: int, others: Mapping[str, Any]) -> None:
        """Store what was seen, and other parts with it."""
        ...


_Report = TypeVar("_Report")


class Watching(ABC, Generic[_Report]):
    """A consumer that folds the journal by itself.

    Args:
        context: Its option `state_file` says where the models' files are.
        clock: Seconds since 1970.
    """

    # It has offsets of its own, one for each model.
    start: ClassVar[Literal["beginning", "end"]] = "end"
    looks_only: ClassVar[bool] = True
    #: Which log it reads.
    of_outcomes: ClassVar[bool] = False

    def __init__(self, context: Context, clock: Callable[[], float] = time.time) -> None:
        self._context, self._clock = context, clock
        self._journal = context.journal
        self._fold: Fold = self._make_fold()
        self._save_at = 0.0
        # The first time there are readings to be made, also where nothing is new.
        self._unsaved = True
        self._saved = 0
        self._called = self._clock()
        self._raised: set[str] = set()
        self._warning = ""

    @abstractmethod
    def _make_fold(self) -> Fold: ...

    @abstractmethod
    def _look(self) -> _Report:
        """Return what is known now."""

    @abstractmethod
    def _alarms(self, report: _Report) -> list[Alarm]: ...

    @abstractmethod
    def _readings(self, report: _Report) -> list[Reading]: ...

    @abstractmethod
    def _said(self, report: _Report) -> str:
        """Return a note for `mlops status`; empty for none."""

    def _parts(self, report: _Report, now_ms: int) -> Mapping[str, Any]:
        """Return what is kept beside the fold."""
        return {}

    def consume(self, batch: Batch) -> Consumed:
        """See `Consumer.consume`."""
        now = self._clock()
        if now - self._called > _SILENT_S:
            self._fold, self._unsaved = self._make_fold(), True
        self._called = now
        try:
            return self._go_on()
        except BaseException:
            # Half of a batch may be in it: the next try begins with what was stored.
            self._fold, self._unsaved = self._make_fold(), True
            raise

    def _go_on(self) -> Consumed:
        end = self._journal.end()
        if not self._fold.follow():
            return Consumed()
        last = end.outcomes if self.of_outcomes else end.decisions
        taken = self._fold.read(last, _AT_ONCE)
        self._unsaved = self._unsaved or taken > 0
        now = self._clock()
        if self._unsaved and now >= self._save_at:
            self._save()
            self._unsaved, self._saved = False, self._fold.offset
            spent_s = self._clock() - now
            self._save_at = self._clock() + max(_SAVE_EVERY_S, _PAUSE * spent_s)
        # It is as far as what it has stored.
        at = self._fold.offset if not self._unsaved else self._saved
        offset = Offset(end.decisions, at) if self.of_outcomes else Offset(at, end.outcomes)
        behind = taken > 0 and self._fold.offset < last
        return Consumed(taken, warning=self._warning, offset=offset, behind=behind)

    def _save(self) -> None:
        now_ms = int(self._clock() * 1000)
        report = self._look()
        new = [alarm for alarm in self._alarms(report) if alarm.id not in self._raised]
        self._journal.raise_alarms(new)
        self._raised.update(alarm.id for alarm in new)
        readings = as_document(self._readings(report))
        self._fold.save(now_ms, {READINGS: readings, **self._parts(report, now_ms)})
        self._warning = self._said(report)

    def _folder(self, arm: Arm) -> Path:
        """Return the folder of an arm's model on this machine.

        Raises:
            RemoteError: The server has not said yet where it is.
        """
        served = read_state(Path(self._context.options["state_file"])).launch.served
        models = zip(served.revision.spec.models, served.paths, strict=True)
        paths = {model.identity: path for model, path in models}
        path = paths.get(arm.model.identity)
        if path is None:
            # The journal knows of it before the server says so.
            raise RemoteError(f"The server has not said yet where the model of `{arm.name}` is.")
        return Path(path)

    def close(self) -> None:
        """See `Consumer.close`."""
