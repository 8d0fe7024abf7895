"""The contract of a reward: one record that holds all that is known about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# As text: the commands know the names of rewards, and must not wait for NumPy.
Floats: TypeAlias = "NDArray[np.float64]"

#: One value as JSON has it.
Value: TypeAlias = bool | int | float | str | None
#: What a model answered for one row: a value, or several by position or by name.
Answer: TypeAlias = Value | Sequence[Any] | Mapping[str, Any]
#: Lowest and highest reward.
Range: TypeAlias = tuple[float, float]
#: Largest size of a reward or of a numeric truth. The statistics sum fourth powers of rewards over
#: propensities: with 1e10 outcomes of arms drawn once in 10,000 that is 1e266, inside a double.
LARGEST = 1e60
#: What a model answers for a row, as far as its files say: `several` values that are not said to
#: be probabilities, a `vector` of numbers without names that may be, `other` for what no built-in
#: reward compares, empty if unknown.
AnswerKind = Literal[
    "number", "whole", "boolean", "text", "probabilities", "several", "vector", "other", ""
]  # fmt: skip
#: What is measured of an arm besides its reward.
Measure = Literal["rmse", "mae", "accuracy", "log_loss", "brier", "auc"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a reward needs to know besides prediction and truth.

    Attributes:
        classes: Class of each probability that the model answers, by position; empty if it does
            not say, and then they count as 0, 1, ….
        costs: For each truth, what each prediction costs, both as text.
        rule: What the reward `cost` takes for the prediction of probabilities, as in
            `mlops.rewards.decisions`; empty for the most likely class.
        columns: Of the classes that were met, what predicting each of them costs.
    """

    classes: tuple[Value, ...] = ()
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rule: str = ""
    columns: dict[tuple[object, ...], list[list[float | None]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        classes: Iterable[Value] = (),
        costs: Iterable[tuple[str, str, float]] = (),
        rule: str = "",
    ) -> Terms:
        """Make terms of classes, of costs as (truth, prediction, cost), and of their rule."""
        rows: dict[str, dict[str, float]] = {}
        for truth, prediction, cost in costs:
            rows.setdefault(truth, {})[prediction] = cost
        return cls(tuple(classes), rows, rule)


NO_TERMS = Terms()


class RewardFailedError(ValueError):
    """A reward failed for one outcome, which has none then.

    What the reward raised is the `__cause__`; the message has no values, so that equal faults are
    counted as one.
    """

    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"the reward `{name}` {how}")


@dataclass(frozen=True, slots=True)
class Reward:
    """How good an answer was, as one number; higher is better.

    Attributes:
        name: As in `--reward`.
        derive: Pure function of one row's prediction and truth; None where only clients know the
            reward and send it. The truth of a model with several outputs may be a list, by
            position, or an object, by name. Raises `ValueError` with the reason where there is
            none. Whatever else it raises counts as a fault of the reward: no reward either.
        meaning: What it is, as a clause for after "the reward is".
        gain: Sentence for a report, with `{winner}`, `{amount}`, `{unit}` and `{than}`.
        scale: `{amount}` is the difference of rewards times this.
        unit: Unit of the reward, human-readable.
        span: Values it can have at all; infinite if unbounded.
        spans: The same where it depends on the terms; None where it does not.
        compares: Kinds of answers that it can be derived from.
        default_for: Kinds of answers whose reward it is by default.
        measures: What a report shows of predictions and truths beside it; empty: what fits them.
        derive_many: `derive` of predictions and truths that are numbers, (n,), to the last digit;
            NaN where there is none. None where only `derive` knows.
    """

    name: str
    derive: Callable[[Answer, Value, Terms], float] | None
    meaning: str
    gain: str = "{winner} earns {amount} more reward per {unit} than {than}."
    scale: float = 1.0
    unit: str = ""
    span: Range = (-math.inf, math.inf)
    spans: Callable[[Terms], Range] | None = None
    compares: frozenset[AnswerKind] = frozenset()
    default_for: frozenset[AnswerKind] = frozenset()
    measures: tuple[Measure, ...] = ()
    derive_many: Callable[[Floats, Floats], Floats] | None = None

    def __call__(self, prediction: Answer, truth: Value, terms: Terms = NO_TERMS) -> float:
        """Return the reward of one row, at most `LARGEST` in size.

        Raises:
            ValueError: These two have none; the message says why, without the values.
            RewardFailedError: The reward raised something else, or gave no number.
        """
        if self.derive is None:
            raise ValueError(f"the reward `{self.name}` is sent by clients, not derived from truth")
        try:
            value = float(within_floats(self.derive(prediction, truth, terms)))
        except ValueError:
            raise
        except Exception as error:
            # Other packages add rewards: a fault of one must not stop a server or a report.
            raise RewardFailedError(self.name, f"raised {type(error).__name__}") from error
        if math.isnan(value):
            raise RewardFailedError(self.name, "returned NaN")
        return value

    def of_numbers(self, predictions: Floats, truths: Floats) -> Floats | None:
        """Return the reward of each of n numbers, NaN where there is none; None if unknown."""
        import numpy as np

        if self.derive_many is None:
            return None
        known = ~(np.isnan(predictions) | np.isnan(truths))
        try:
            values = all_within_floats(self.derive_many(predictions, truths))
        except Exception:  # noqa: BLE001 - row by row it tells which of them have a reward
            return None
        return np.where(known, values, np.nan)

    @property
    def is_derived(self) -> bool:
        """Whether the server derives it from prediction and truth."""
        return self.derive is not None

    @property
    def needs_numbers(self) -> bool:
        """Whether the truth must be a number."""
        return self.is_derived and not self.compares & {"text", "probabilities"}

    def natural_range(self, terms: Terms = NO_TERMS) -> Range | None:
        """Return its inherent range; None if it has none."""
        low, high = self.spans(terms) if self.spans else self.span
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def within_floats(value: float) -> float:
    """Return a reward as the statistics take it: no larger than `LARGEST`, 0 if below its inverse.

    >>> within_floats(-1e200), within_floats(3.0), within_floats(1e-300)
    (-1e+60, 3.0, 0.0)
    """
    size = abs(value)
    return math.copysign(LARGEST, value) if size > LARGEST else value * (size >= 1 / LARGEST)


def all_within_floats(values: Floats) -> Floats:
    """Return `within_floats` of each value."""
    import numpy as np

    size = np.abs(values)
    within: Floats = np.where(
        size > LARGEST, np.copysign(LARGEST, values), values * ~(size < 1 / LARGEST)
    )
    return within
