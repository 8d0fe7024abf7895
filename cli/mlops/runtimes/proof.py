"""Whether a faster runtime answers as the model itself does, shown on rows rather than assumed.

Labels and texts must be identical, and so must the types of numbers and what is refused. Numbers
may differ by what rounding explains: a sum of a thousand terms in another order differs by some
1,000 units of the last place, 2^-53 of its size in float64 and 2^-24 in float32. The tolerances
are ten times that in float64, and 2e-6, a sum of some thirty terms all rounded one way, in
float32. The size is that of the answer, or of a typical answer where that is larger.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops.protocols.base import Kind, Prediction, ProtocolError, Rows
from mlops.runtimes.base import OutOfTimeError, Runtime, split
from mlops.runtimes.samples import Group

#: Relative to the size of an answer.
TOLERANCES = {"float64": 1e-12, "float32": 2e-6}
#: What the rows of a group are like, for people.
_ROWS = {
    "ordinary": "with usual values",
    "borders": "at the thresholds of its trees",
    "unseen": "with a text that training has not seen",
    "missing": "with a missing cell",
    "extreme": "with an extreme value",
}
#: Rows of a group that are also asked one by one.
_SINGLY = 4
#: Most rows of a group that are asked one by one since not all of them are answered.
_REFUSED = 24
_SLOW_S = 0.1
_TIMED_CALLS = 30
_TIMED_MS = 100.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What a comparison of a runtime with the model's pyfunc has shown.

    Attributes:
        rows: Rows that were compared.
        largest_difference: Between two numbers, relative to the size of the answer; 0 if all
            digits are the same.
        tolerance: What it may be; 0 for labels and texts.
        row_us: Median time of a call with one row, in microseconds.
        row_us_before: That of pyfunc.
        rows_100_us: Median time of a call with 100 rows, in microseconds.
        rows_100_us_before: That of pyfunc.
        made_ms: When that was, milliseconds since 1970 in UTC.
        cached: Whether another process made the comparison, and this one has found it.
    """

    rows: int
    largest_difference: float
    tolerance: float
    row_us: float
    row_us_before: float
    rows_100_us: float
    rows_100_us_before: float
    made_ms: int
    cached: bool = False


class DifferentError(Exception):
    """Two runtimes do not agree. Its text says where, human-readable.

    Attributes:
        group: Name of the group of rows.
    """

    def __init__(self, group: str, message: str) -> None:
        super().__init__(message)
        self.group = group


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two runtimes agree.

    Attributes:
        rows: Rows that were compared.
        largest_difference: As in `Proof`.
        tolerance: As in `Proof`.
    """

    rows: int
    largest_difference: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What the model answers to one request: a prediction, or why there is none."""

    rows: Rows
    answer: Prediction | Kind


class Reference:
    """What the model itself answers, asked once.

    Args:
        model: The runtime to compare others with.
        names: Names of the columns.
        groups: Rows, of which the first group is ordinary ones.
    """

    def __init__(self, model: Runtime, names: tuple[str, ...], groups: Sequence[Group]) -> None:
        self._model = model
        self._names = names
        self._known: dict[str, list[Expected]] = {}
        self._groups = {group.name: group for group in groups}
        self._size = 0.0

    def agreement(self, other: Runtime, deadline: float = float("inf")) -> Agreement:
        """Compare another runtime.

        Args:
            other: It has the same model.
            deadline: When to give up, by `time.monotonic`.

        Raises:
            DifferentError: They do not agree.
            OutOfTimeError: Time is up.
        """
        rows, largest, tolerance = 0, 0.0, 0.0
        for name in self._groups:
            for expected in self._expected(name):
                if time.monotonic() > deadline:
                    raise OutOfTimeError("comparing it takes too long")
                answer = _ask(other, expected.rows)
                difference, allowed = self._compare(name, expected, answer)
                rows += expected.rows.n_rows
                largest, tolerance = max(largest, difference), max(tolerance, allowed)
        return Agreement(rows, largest, tolerance)

    def _expected(self, name: str) -> list[Expected]:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = [*self._asked(self._groups[name].rows)]
        return known

    def _asked(self, rows: list[list[Any]]) -> list[Expected]:
        whole = Rows(rows, self._names)
        answer = _ask(self._model, whole)
        singles = rows[: _REFUSED if isinstance(answer, Kind) else _SINGLY]
        if not self._size and not isinstance(answer, Kind):
            self._size = _typical(answer)
        alone = (Rows([row], self._names) for row in singles)
        return [Expected(whole, answer), *(Expected(r, _ask(self._model, r)) for r in alone)]

    def _compare(
        self, group: str, expected: Expected, answer: Prediction | Kind
    ) -> tuple[float, float]:
        """Return the largest difference, and what it may be."""
        if isinstance(expected.answer, Kind) or isinstance(answer, Kind):
            if expected.answer is not answer:
                raise DifferentError(group, _refusal(expected.answer, answer, group))
            return 0.0, 0.0
        difference, tolerance = _difference(expected.answer, answer, self._size, group)
        if not difference <= tolerance:
            raise DifferentError(
                group,
                f"its numbers for rows {_ROWS[group]} are off by up to {difference:.1g} of their "
                f"size, and {tolerance:.0g} is allowed",
            )
        return difference, tolerance


def joins_exactly(runtime: Runtime, rows: Sequence[Sequence[Any]], names: tuple[str, ...]) -> bool:
    """Whether a row's answer has the same digits alone as beside others.

    A model that needs more than 100 ms for a row is not asked further, and taken not to.

    Args:
        runtime: Gives one array, table or list for all rows.
        rows: At least two.
        names: Names of the columns.
    """
    counts = [1] * len(rows)
    try:
        started = time.monotonic()
        runtime.predict(Rows(list(rows[:1]), names), {})
        if time.monotonic() - started > _SLOW_S:
            return False
        together = split(runtime.predict(Rows(list(rows), names), {}), counts)
        if together is None:
            return False
        alone = [runtime.predict(Rows([row], names), {}) for row in rows]
    except ProtocolError:
        return False
    return all(_same(a, b) for a, b in zip(together, alone, strict=True))


def median_us(runtime: Runtime, rows: Rows) -> float:
    """Return how long a call takes, the median in microseconds."""
    times: list[float] = []
    while len(times) < _TIMED_CALLS and sum(times) < _TIMED_MS * 1000:
        started = time.perf_counter_ns()
        runtime.infer(runtime.prepare(rows, {}))
        times.append((time.perf_counter_ns() - started) / 1000)
    return statistics.median(times)


def _ask(runtime: Runtime, rows: Rows) -> Prediction | Kind:
    try:
        return runtime.predict(rows, {})
    except ProtocolError as error:
        return error.kind


def _refusal(expected: Prediction | Kind, answer: Prediction | Kind, group: str) -> str:
    if isinstance(expected, Kind) and isinstance(answer, Kind):
        return f"it refuses rows {_ROWS[group]} with another error"
    one, other = ("answers", "refuses") if isinstance(expected, Kind) else ("refuses", "answers")
    return f"it {one} rows {_ROWS[group]} that the model {other}"


def _columns(prediction: Prediction) -> Mapping[str, Any] | None:
    if isinstance(prediction, np.ndarray):
        return {"": prediction}
    return prediction if isinstance(prediction, dict) else None


def _typical(prediction: Prediction) -> float:
    """Return the mean size of an answer's numbers."""
    columns = _columns(prediction) or {}
    cells = [c.ravel() for c in columns.values() if getattr(c, "dtype", np.dtype("O")).kind == "f"]
    sizes = np.abs(np.concatenate(cells)) if cells else np.zeros(0)
    sizes = sizes[np.isfinite(sizes)]
    return float(sizes.mean()) if len(sizes) else 0.0


def _difference(
    expected: Prediction, answer: Prediction, size: float, group: str
) -> tuple[float, float]:
    ours, theirs = _columns(answer), _columns(expected)
    if ours is None or theirs is None:
        if expected != answer or type(expected) is not type(answer):
            raise DifferentError(group, f"it answers rows {_ROWS[group]} differently")
        return 0.0, 0.0
    if type(expected) is not type(answer) or list(ours) != list(theirs):
        raise DifferentError(group, f"its answers to rows {_ROWS[group]} have another form")
    found = [_of_arrays(theirs[name], ours[name], size, group) for name in theirs]
    return max(d for d, _ in found), max(t for _, t in found)


def _of_arrays(expected: Any, answer: Any, size: float, group: str) -> tuple[float, float]:  # noqa: ANN401 - arrays
    if answer.dtype != expected.dtype or answer.shape != expected.shape:
        raise DifferentError(
            group,
            f"it answers {answer.dtype} {answer.shape}, not {expected.dtype} {expected.shape}",
        )
    tolerance = TOLERANCES.get(str(expected.dtype), 0.0)
    if not tolerance:
        if not np.array_equal(answer, expected):
            n = int(np.sum(answer != expected))
            text = f"it gives {n} of {len(expected)} rows {_ROWS[group]} another label"
            raise DifferentError(group, text)
        return 0.0, 0.0
    equal = (answer == expected) | (np.isnan(answer) & np.isnan(expected))
    if equal.all():
        return 0.0, tolerance
    with np.errstate(all="ignore"):
        scale = np.maximum(np.abs(expected), size)
        relative = np.abs(answer.astype(float) - expected) / scale
    relative = np.where(equal, 0.0, np.where(np.isnan(relative), np.inf, relative))
    return float(relative.max()), tolerance


def _same(a: Prediction, b: Prediction) -> bool:
    """Whether two answers are the same to the last digit."""
    ours, theirs = _columns(a), _columns(b)
    if ours is None or theirs is None:
        return bool(a == b)
    return list(ours) == list(theirs) and all(
        _bits(np.asarray(ours[name]), np.asarray(theirs[name])) for name in ours
    )


def _bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tolist() == b.tolist() if a.dtype.kind == "O" else a.tobytes() == b.tobytes()
