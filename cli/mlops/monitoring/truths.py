"""Truths that met their predictions: numbers as columns, anything else as it came."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from mlops.journal.records import Value
from mlops.rewards import Answer
from mlops.rewards.kinds import is_number, is_single
from mlops.rewards.labels import UnknownLabels, is_unknown


@dataclass(frozen=True, slots=True)
class Truth:
    """One truth that met its prediction.

    Attributes:
        time_ms: When its request came, milliseconds since 1970 in UTC.
        arm: Position of the arm that answered.
        prediction: What it answered.
        truth: What was true.
    """

    time_ms: int
    arm: int
    prediction: Answer
    truth: Value


@dataclass(slots=True)
class Truths(Sequence[Truth]):
    """Truths in order of arrival; as columns, since a `Truth` each would take too much.

    Attributes:
        others: Prediction and truth by position where one of them is not a number.
    """

    _times: array[int] = field(default_factory=lambda: array("q"))
    _arms: array[int] = field(default_factory=lambda: array("h"))
    _predictions: array[float] = field(default_factory=lambda: array("d"))
    _truths: array[float] = field(default_factory=lambda: array("d"))
    others: dict[int, tuple[Answer, Value]] = field(default_factory=dict)

    def append(self, seen: Truth) -> None:
        """Add one."""
        if type(seen.prediction) is float and type(seen.truth) is float:
            self._predictions.append(seen.prediction)
            self._truths.append(seen.truth)
        else:
            self.others[len(self._times)] = (seen.prediction, seen.truth)
            self._predictions.append(np.nan)
            self._truths.append(np.nan)
        self._times.append(seen.time_ms)
        self._arms.append(seen.arm)

    def extend(
        self,
        times_ms: NDArray[np.int64],
        arms: NDArray[np.int64],
        predictions: NDArray[np.float64],
        truths: NDArray[np.float64],
        others: Mapping[int, tuple[Answer, Value]],
    ) -> None:
        """Add many.

        Args:
            times_ms: When the request of each came, (n,).
            arms: Its arm, (n,).
            predictions: Numbers, (n,).
            truths: Numbers, (n,).
            others: Those that are not numbers, by position from 0.
        """
        start = len(self._times)
        self.others |= {start + at: pair for at, pair in others.items()}
        self._times.frombytes(times_ms.astype(np.int64).tobytes())
        self._arms.frombytes(arms.astype(np.int16).tobytes())
        self._predictions.frombytes(predictions.astype(np.float64).tobytes())
        self._truths.frombytes(truths.astype(np.float64).tobytes())

    def by_time(self) -> Truths:
        """Return the same in the order of their requests."""
        times = np.frombuffer(self._times, dtype=np.int64)
        order = np.argsort(times, kind="stable")
        places = {at: new for new, at in enumerate(order.tolist())} if self.others else {}
        found = Truths()
        found.extend(
            times[order],
            np.frombuffer(self._arms, dtype=np.int16)[order].astype(np.int64),
            np.frombuffer(self._predictions, dtype=np.float64)[order],
            np.frombuffer(self._truths, dtype=np.float64)[order],
            {places[at]: pair for at, pair in self.others.items()},
        )
        return found

    def numbers(self, arm: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Predictions and truths of an arm; None unless all are numbers."""
        if self.others:
            return None
        own = np.frombuffer(self._arms, dtype=np.int16) == arm
        columns = (self._predictions, self._truths)
        predictions, truths = (np.frombuffer(each, dtype=np.float64)[own] for each in columns)
        return predictions, truths

    def unknown_labels(self, known: Sequence[Collection[Value]]) -> UnknownLabels:
        """Count labels of single answers that are none of the classes: wrong answers, to a report.

        Args:
            known: The classes of each arm; empty for one that does not tell them.
        """
        found = UnknownLabels()
        if not all(known):
            return found
        classes = frozenset(each for some in known for each in some)
        numbers = [float(each) for each in classes if is_number(each)]
        truths = np.frombuffer(self._truths, dtype=np.float64)
        suspects = np.flatnonzero(~np.isin(truths, numbers) & ~np.isnan(truths)).tolist()
        pairs: list[tuple[Answer, Value]] = [
            (self._predictions[at], self._truths[at]) for at in suspects if at not in self.others
        ]
        # Nearly all are among them, which is told at once.
        pairs += [
            pair for pair in self.others.values() if is_single(pair[1]) and pair[1] not in classes
        ]
        for prediction, truth in pairs:
            if is_single(prediction) and is_unknown(prediction, truth, known):
                found.add(truth, wrong=True)
        return found

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._times)

    @overload
    def __getitem__(self, at: int) -> Truth: ...

    @overload
    def __getitem__(self, at: slice) -> Truths: ...

    def __getitem__(self, at: int | slice) -> Truth | Truths:
        """Return one of them, or a slice."""
        if isinstance(at, slice):
            positions = range(len(self))[at]
            others = {
                position - positions.start: pair
                for position, pair in self.others.items()
                if position in positions
            }
            return Truths(
                self._times[at], self._arms[at], self._predictions[at], self._truths[at], others
            )
        position = range(len(self))[at]
        numbers = self._predictions[position], self._truths[position]
        return Truth(
            self._times[position], self._arms[position], *self.others.get(position, numbers)
        )

    def __iter__(self) -> Iterator[Truth]:
        """Iterate in order of arrival."""
        return (self[at] for at in range(len(self)))
