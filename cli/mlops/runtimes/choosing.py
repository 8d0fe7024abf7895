"""Which runtime executes a model: the fastest that is shown to answer as pyfunc does."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.errors import InvalidInputError
from mlops.protocols.base import Columns, Payload, Records, Rows
from mlops.runtimes import AUTO, RUNTIMES
from mlops.runtimes.base import OutOfTimeError, Runtime, UnsuitableError
from mlops.runtimes.classes import raw_model
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.identity import identity_of
from mlops.runtimes.kept import Kept, KeptRuntimes
from mlops.runtimes.proof import (
    Agreement,
    DifferentError,
    Proof,
    Reference,
    joins_exactly,
    median_us,
)
from mlops.runtimes.samples import Group, Sampler
from mlops.stats.profile_document import PROFILE_FILE, from_json
from mlops.stats.profiles import FeatureProfile

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

_BASE = "pyfunc"
#: Longest that making a runtime may take, and that comparing it may.
_OPEN_S = 40.0
_PROOF_S = 20.0
#: Rows whose answers are compared alone and beside others.
_JOINED_ROWS = 24
#: Rows that are compared though a proof is known.
_AGAIN_ROWS = 50
#: Tried last, and not where something else needs less than this for one row.
_SLOW_TO_OPEN = frozenset({"onnx"})
_FAST_US = 100.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime of a model.

    Attributes:
        name: A name of `RUNTIMES`.
        runtime: It.
        proof: What the comparison with pyfunc has shown; None for pyfunc itself.
        reasons: Why not another one, one sentence each.
    """

    name: str
    runtime: Runtime
    proof: Proof | None
    reasons: tuple[str, ...]


def choose(
    model: ModelFolder, wanted: str, example: Payload | None, known: KeptRuntimes | None = None
) -> Choice:
    """Make the runtime of a model. Runs the model's code; takes seconds at most.

    Args:
        model: The model.
        wanted: `auto`, or the name of a runtime that is taken if it is right.
        example: Rows that the model answers; None if none are known.
        known: Choices that were made before; None to make it whatever was before.

    Raises:
        InvalidInputError: There is no runtime of this name.
    """
    if wanted == _BASE:
        return Choice(_BASE, model.pyfunc, None, ())
    names = [wanted]
    if wanted == AUTO:
        names = sorted(
            (name for name in RUNTIMES.names() if name != _BASE), key=_SLOW_TO_OPEN.__contains__
        )
    rows = _rows_of(example, model.signature.names)
    if not rows:
        why = "no rows are known on which to compare it: log the model with an `input_example`"
        _check_names(names)
        return Choice(_BASE, model.pyfunc, None, (f"{', '.join(names)}: {why}",))
    contest = _Contest(model, rows)
    if known is None:
        return contest.best(names, at_any_speed=wanted != AUTO)
    key = identity_of(model.path, wanted)
    with known.turn(key):
        kept = known.find(key)
        choice = None if kept is None else contest.again(kept)
        if choice is None:
            choice = contest.best(names, at_any_speed=wanted != AUTO)
            if contest.in_time:
                known.add(key, contest.kept(choice), model.path)
    return choice


class _Contest:
    """Compares the runtimes of one model.

    Args:
        model: The model.
        examples: Rows that it answers.

    Attributes:
        in_time: Whether no runtime was left out for lack of time.
    """

    def __init__(self, model: ModelFolder, examples: list[list[Any]]) -> None:
        self._model = model
        self._names = model.signature.names
        self._sampler = Sampler(model.signature.columns, _profile(model), examples, _words(model))
        self._one = Rows(examples[:1], self._names)
        self._reasons: list[str] = []
        self._left: dict[str, list[str]] = {}
        self._joins = False
        self.in_time = True
        self._references: dict[tuple[tuple[int, float], ...], Reference] = {}

    def best(self, names: Sequence[str], *, at_any_speed: bool) -> Choice:
        """Return the fastest for one row of those that are right; pyfunc if none is faster.

        Args:
            names: Of runtimes, in the order to try them.
            at_any_speed: Whether one that is right is taken though pyfunc is faster.
        """
        right: dict[str, tuple[Runtime, Agreement]] = {}
        timed: list[tuple[float, str]] = []
        for name in names:
            if name in _SLOW_TO_OPEN and timed and min(timed)[0] < _FAST_US:
                continue
            tried = self._tried(name)
            if tried is not None:
                right[name] = tried
                timed.append((median_us(tried[0], self._one), name))
        if not right:
            return self._pyfunc()
        before_us = median_us(self._model.pyfunc, self._one)
        row_us, best = min(timed)
        if row_us >= before_us and not at_any_speed:
            self._reasons.append(f"{best}: it is no faster than pyfunc")
            return self._pyfunc()
        runtime, agreement = right[best]
        self._let_join(runtime)
        proof = self._proof(runtime, agreement, row_us, before_us)
        return Choice(best, runtime, proof, tuple(self._reasons))

    def again(self, kept: Kept) -> Choice | None:
        """Repeat a choice; None if it cannot be, or some rows are answered otherwise now."""
        model = self._model
        model.conversions.update(kept.files)
        try:
            runtime = model.pyfunc if kept.name == _BASE else _opened(kept.name, model)
            for group in kept.left:
                runtime.restrict(group)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                some = [Group("ordinary", self._ordinary(_AGAIN_ROWS))]
                Reference(model.pyfunc, self._names, some).agreement(runtime)
        except (UnsuitableError, DifferentError):
            model.conversions.clear()
            return None
        if kept.joins:
            runtime.allow_joining()
        proof = None if kept.proof is None else replace(kept.proof, cached=True)
        return Choice(kept.name, runtime, proof, kept.reasons)

    def kept(self, choice: Choice) -> Kept:
        """Return what it takes to repeat the choice that was made."""
        files = self._model.conversions.items()
        return Kept(
            name=choice.name,
            proof=choice.proof,
            reasons=choice.reasons,
            left=tuple(self._left.get(choice.name, ())),
            joins=self._joins,
            files={name: data for name, data in files if name.startswith(f"{choice.name}-")},
        )

    def _pyfunc(self) -> Choice:
        # It may call another service, which counts calls.
        self._let_join(self._model.pyfunc, 8)
        return Choice(_BASE, self._model.pyfunc, None, tuple(self._reasons))

    def _tried(self, name: str) -> tuple[Runtime, Agreement] | None:
        left = self._left[name] = []
        try:
            runtime = _opened(name, self._model)
            return runtime, self._agreement(runtime, time.monotonic() + _PROOF_S, left)
        except (UnsuitableError, DifferentError) as error:
            self.in_time &= not isinstance(error, OutOfTimeError)
            self._reasons.append(f"{name}: {error}")
            return None

    def _agreement(self, runtime: Runtime, deadline: float, left: list[str]) -> Agreement:
        reference = self._reference(runtime)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # About strange rows, which would only fill the log.
            warnings.simplefilter("ignore")
            while True:
                try:
                    return reference.agreement(runtime, deadline)
                except DifferentError as error:
                    if not runtime.restrict(error.group):
                        raise
                    left.append(error.group)

    def _reference(self, runtime: Runtime) -> Reference:
        borders = tuple(runtime.borders())
        if borders not in self._references:
            groups = self._sampler.groups(borders)
            self._references[borders] = Reference(self._model.pyfunc, self._names, groups)
        return self._references[borders]

    def _let_join(self, runtime: Runtime, n_rows: int = _JOINED_ROWS) -> None:
        rows = self._ordinary(n_rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._joins = joins_exactly(runtime, rows, self._names)
            if self._joins:
                runtime.allow_joining()

    def _proof(
        self, runtime: Runtime, agreement: Agreement, row_us: float, before_us: float
    ) -> Proof:
        hundred = Rows(self._ordinary(100), self._names)
        return Proof(
            rows=agreement.rows,
            largest_difference=agreement.largest_difference,
            tolerance=agreement.tolerance,
            row_us=row_us,
            row_us_before=before_us,
            rows_100_us=median_us(runtime, hundred),
            rows_100_us_before=median_us(self._model.pyfunc, hundred),
            made_ms=time.time_ns() // 1_000_000,
        )

    def _ordinary(self, n_rows: int) -> list[list[Any]]:
        groups: Sequence[Group] = self._sampler.groups(())
        return groups[0].rows[:n_rows]


def _opened(name: str, model: ModelFolder) -> Runtime:
    """Make a runtime; one that takes too long is left behind."""
    result: list[Runtime | Exception] = []

    def work() -> None:
        try:
            result.append(RUNTIMES.load(name)(model))
        except Exception as error:  # noqa: BLE001 - a conversion must not fail a deployment
            result.append(error)

    thread = threading.Thread(target=work, name=f"open {name}", daemon=True)
    thread.start()
    thread.join(_OPEN_S)
    if not result:
        raise OutOfTimeError(f"it was not ready after {_OPEN_S:g} s")
    (made,) = result
    if isinstance(made, Runtime):
        return made
    if isinstance(made, UnsuitableError):
        raise made
    if isinstance(made, ModuleNotFoundError):
        raise UnsuitableError(f"`{made.name}` is not installed: pip install 'mlops-loop[fast]'")
    said = made.message if isinstance(made, InvalidInputError) else f"{type(made).__name__}: {made}"
    raise UnsuitableError(said)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in RUNTIMES:
            RUNTIMES.load(name)


def _rows_of(payload: Payload | None, names: tuple[str, ...]) -> list[list[Any]]:
    """Return rows of JSON cells in the order of `names`; none if they cannot be had."""
    if payload is None or not names or not payload.n_rows:
        return []
    if isinstance(payload, Records):
        return [[record.get(name) for name in names] for record in payload.values]
    if isinstance(payload, Columns):
        columns = [payload.values.get(name) for name in names]
        if any(cells is None for cells in columns):
            return []
        return [list(row) for row in zip(*map(_listed, columns), strict=True)]
    given = getattr(payload, "names", None) or names
    if not set(names) <= set(given) or any(len(row) != len(given) for row in payload.values):
        return []
    order = [given.index(name) for name in names]
    return [[row[index] for index in order] for row in payload.values]


def _listed(cells: Any) -> list[Any]:  # noqa: ANN401 - a list or an array
    return cells.ravel().tolist() if isinstance(cells, np.ndarray) else list(cells)


def _profile(model: ModelFolder) -> dict[str, FeatureProfile]:
    """Return what training kept with the model; nothing where it kept none that can be read."""
    try:
        text = (model.path / PROFILE_FILE).read_text(encoding="utf-8")
        return dict(from_json(text).features)
    except (OSError, InvalidInputError):
        return {}


def _words(model: ModelFolder) -> list[str]:
    """Return words that a vectorizer among the steps of a model knows."""
    for step in _parts(model.pyfunc.raw):
        vocabulary = getattr(step, "vocabulary_", None)
        if isinstance(vocabulary, dict):
            return [*sorted(map(str, vocabulary))[:2000], "Unknown", "ÉTÉ", "don't", "x", "2024"]
    return []


def _parts(model: PyFuncModel) -> Iterator[Any]:
    """Yield the steps of a pipeline and of its column transformers, to any depth."""
    waiting: list[Any] = [raw_model(model)]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += [step[1] for step in getattr(part, "steps", ())]
        waiting += [step[1] for step in getattr(part, "transformers_", ())]
