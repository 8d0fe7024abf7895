"""All streams of one model: a fold of the requests that it answered, in the journal's order.

Where a policy chose the arm by the request, the requests that a model answered are no sample of
those that came. There its features are those of all requests, and its answers are not looked at.

Of a sticky unit only the first row of each day counts: a user who comes a hundred times is not a
hundred users. Requests that a tester sent to an arm, and those that failed, are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Stream as Log
from mlops.journal.feature_tables import FeatureTable
from mlops.journal.streaming import Decisions
from mlops.monitoring.drift_streams import WatchedStream, restored_stream, watch_feature
from mlops.stats.joint import Joint, JointFeature
from mlops.stats.profiles import FeatureProfile

_DAY_MS = 86_400_000
_FAILED = 400
_AT_ONCE = 50_000
_NO_ROW, _EVERY_ROW, _FIRST_ROW = 0, 1, 2
#: Feature, positions of the requests in their batch (m,), and the m values.
_Part: TypeAlias = tuple[str, NDArray[np.int64], list[Any]]


class WatchedModel:
    """What was seen of one model.

    Args:
        features: Its features, each with what its training data had; None where that is not known.
        season_ms: Length of a season; 0 for none.
        offset: A decision before its first.

    Attributes:
        streams: By feature, and by statistic.
        joint: The statistics of several features, by name.
        answers: What it predicted.
        offset: Last decision of the journal that was read.
        requests: Requests that it answered and that were examined.
        left_out: Rows left out because their unit had one on that day.
        without: Requests of which the journal has no features.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureProfile | JointFeature | None],
        season_ms: int = 0,
        offset: int = 0,
    ) -> None:
        self.joint = {
            name: each.statistic
            for name, each in features.items()
            if isinstance(each, JointFeature)
        }
        self.streams = {
            name: watch_feature(each.profile if isinstance(each, JointFeature) else each, season_ms)
            for name, each in features.items()
        }
        self.answers: WatchedStream = watch_feature(None, season_ms)
        self.offset = offset
        self.requests = self.left_out = self.without = 0
        self.several = False
        # Units of the day, and the decision that the day began with.
        self._seen: set[bytes] = set()
        self._day = self._day_began = 0

    def take(
        self,
        decisions: Decisions,
        tables: Sequence[FeatureTable],
        answered: NDArray[np.bool_],
        chosen: NDArray[np.bool_],
    ) -> None:
        """Take decisions in their order; those already taken are skipped.

        Args:
            decisions: n of them.
            tables: Their features.
            answered: Which of them it answered, (n,).
            chosen: Those whose arm was chosen by the request, by a policy that might have chosen
                this model, (n,).
        """
        new = _counts(decisions) & (decisions.seqs > self.offset)
        mine = answered & new
        self.offset = max(self.offset, int(decisions.seqs[-1]))
        every = new & (answered | chosen)
        if not every.any():
            return
        rows = self._countable(decisions, every, mine)
        self.requests += int(mine.sum())
        without = mine.copy()
        found: dict[str, list[_Part]] = {}
        for table in tables:
            without[table.requests] = False
            for part in self._parts(table, rows):
                found.setdefault(part[0], []).append(part)
        self.without += int(without.sum())
        for name, parts in found.items():
            # Requests with other columns are in other tables.
            at = np.concatenate([part[1] for part in parts])
            cells = list(itertools.chain.from_iterable(part[2] for part in parts))
            if len(parts) > 1:
                order = np.argsort(at, kind="stable")
                at, cells = at[order], [cells[index] for index in order]
            self.streams[name].take(cells, decisions.times_ms[at])
        self._take_answers(decisions, np.where(chosen, _NO_ROW, rows))

    def _take_answers(self, decisions: Decisions, rows: NDArray[np.int64]) -> None:
        cells, times = [], []
        for position in np.flatnonzero(rows):
            answers = decisions.predictions_of(int(position)) or []
            self.several = self.several or any(isinstance(cell, list | dict) for cell in answers)
            plain = [cell for cell in answers if isinstance(cell, bool | int | float | str)]
            plain = plain[:1] if rows[position] == _FIRST_ROW else plain
            cells += plain
            times += [int(decisions.times_ms[position])] * len(plain)
        self.answers.take(cells, np.array(times, dtype=np.int64))

    def _parts(self, table: FeatureTable, rows: NDArray[np.int64]) -> Iterator[_Part]:
        """Yield the values of a table that count, for each stream."""
        if table.names is None:
            return
        first = np.ones(len(table.requests), dtype=bool)
        first[1:] = table.requests[1:] != table.requests[:-1]
        kept = rows[table.requests]
        use = np.flatnonzero((kept == _EVERY_ROW) | ((kept == _FIRST_ROW) & first))
        if not len(use):
            return
        for name in (self.streams.keys() - self.joint.keys()) & set(table.names):
            cells = table.column(name)
            yield name, table.requests[use], [cells[row] for row in use.tolist()]
        numbers: dict[str, NDArray[np.float64]] = {}
        for name, joint in self.joint.items():
            if not set(joint.columns) <= set(table.names):
                continue
            for column in set(joint.columns) - numbers.keys():
                numbers[column] = table.numbers(column, use)
            values = joint.values([numbers[column] for column in joint.columns])
            cells = [None if value != value else value for value in values.tolist()]
            yield name, table.requests[use], cells

    def _countable(
        self, decisions: Decisions, every: NDArray[np.bool_], mine: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return for each request which of its rows count; of its own, add what is left out."""
        found: NDArray[np.int64] = every.astype(np.int64)
        for position in np.flatnonzero(every).tolist():
            unit = decisions.units[position]
            if unit is None:
                continue
            seen = self._saw(unit, int(decisions.times_ms[position]), int(decisions.seqs[position]))
            if mine[position]:
                self.left_out += int(decisions.n_rows[position]) - (not seen)
            found[position] = _NO_ROW if seen else _FIRST_ROW
        return found

    def _saw(self, unit: bytes, time_ms: int, seq: int) -> bool:
        """Return whether a unit was seen before on this day, and remember it."""
        day = time_ms // _DAY_MS
        # Several writers overlap around midnight; the day only advances.
        if day > self._day:
            self._day, self._day_began = day, seq
            self._seen.clear()
        seen = unit in self._seen
        self._seen.add(unit)
        return seen

    @property
    def lacks_correlations(self) -> bool:
        """Whether its reference profile has two numbers or more, and no correlations."""
        references = [
            each.reference for each in self.streams.values() if each.against == "training"
        ]
        numbers = [each for each in references if each is not None and each.kind == "number"]
        return not self.joint and len(numbers) > 1

    @property
    def different(self) -> list[str]:
        """Features of which nearly every value is another."""
        return [
            name
            for name, each in self.streams.items()
            if each.reference is not None and each.reference.kind == "distinct" and each.rows
        ]

    @property
    def unseen(self) -> list[str]:
        """Features of which the journal has no value, though it has others of its requests."""
        own = {k: each for k, each in self.streams.items() if k not in self.joint}
        seen = {k for k, each in own.items() if each.rows or each.first or each.why_not}
        # Before its first whole season a stream takes none.
        return [k for k, each in own.items() if seen and k not in seen and not each.season_ms]

    def document(self) -> dict[str, Any]:
        """Return its state, as JSON data, except for the units of the day."""
        return {
            "streams": {name: each.document() for name, each in self.streams.items()},
            "joint": {name: asdict(each) for name, each in self.joint.items()},
            "answers": self.answers.document(),
            "offset": self.offset,
            "requests": self.requests,
            "left_out": self.left_out,
            "without": self.without,
            "several": self.several,
            "day_began": self._day_began,
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> WatchedModel:
        """Return one that continues from the state in `document`, once it has recalled."""
        made = cls({})
        made.streams = {name: restored_stream(each) for name, each in document["streams"].items()}
        # What earlier versions stored has none, and continues without.
        made.joint = {name: Joint.read(each) for name, each in document.get("joint", {}).items()}
        made.answers = restored_stream(document["answers"])
        made.offset, made.requests = document["offset"], document["requests"]
        made.left_out, made.without = document["left_out"], document["without"]
        made.several = document.get("several", False)
        made._day_began = document["day_began"]
        return made

    def recall(self, taken: Callable[[Decisions], NDArray[np.bool_]], log: Log) -> None:
        """Read again which units came on the day of the last request that was taken.

        Args:
            taken: Says which decisions it takes.
            log: Pruning leaves the units in it.
        """
        after = self._day_began - 1
        while self._day_began and after < self.offset:
            decisions = log.decisions(after, self.offset, _AT_ONCE)
            if not len(decisions):
                break
            mine = taken(decisions) & _counts(decisions)
            for position in np.flatnonzero(mine).tolist():
                unit = decisions.units[position]
                if unit is not None:
                    at = int(decisions.times_ms[position]), int(decisions.seqs[position])
                    self._saw(unit, *at)
            after = int(decisions.seqs[-1])


def _counts(decisions: Decisions) -> NDArray[np.bool_]:
    """Return which requests were drawn, and answered."""
    counts: NDArray[np.bool_] = (decisions.propensities > 0) & (decisions.statuses < _FAILED)
    return counts
