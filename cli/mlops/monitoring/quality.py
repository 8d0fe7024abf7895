"""Quality from truth: how far predictions are off, in all and over time.

    rmse, mae   of numbers, in units of the truth; of several outputs over all of them together
    accuracy    share of labels equal to the truth; of probabilities the most likely class counts
    log_loss    mean negative logarithm of the probability of the true class, capped as the reward
    brier       mean squared distance of the probabilities from the truth, as the reward has it
    auc         probability that an answer about the second of two classes ranks above one about
                the first, ties counting half (Mann-Whitney U / (n1 n0))

They describe the labelled rows. None has an interval, and none decides anything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.truths import Truth, Truths
from mlops.rewards.base import NO_TERMS, Answer, Measure, Reward, Terms
from mlops.rewards.brier import BRIER
from mlops.rewards.errors import ABSOLUTE_ERROR, SQUARED_ERROR
from mlops.rewards.exact import EXACT
from mlops.rewards.kinds import are_numbers, is_number, is_single, same
from mlops.rewards.log_loss import LOG_LOSS
from mlops.rewards.probabilities import are_probabilities, is_probability, probabilities
from mlops.rewards.ranking import area_under_roc

#: Windows of a report, unless more are asked for.
WINDOWS = 8


@dataclass(frozen=True, slots=True)
class MeasureName:
    """The name of a measure.

    Attributes:
        field: Its name in `Quality`.
        label: For tables.
        title: In full.
        lower_is_better: Which way is good.
    """

    field: Measure
    label: str
    title: str
    lower_is_better: bool


#: Every measure, in the order in which reports show them.
MEASURES = (
    MeasureName("rmse", "RMSE", "root mean squared error", lower_is_better=True),
    MeasureName("mae", "MAE", "mean absolute error", lower_is_better=True),
    MeasureName("log_loss", "log loss", "mean log loss in nats", lower_is_better=True),
    MeasureName("brier", "Brier", "mean Brier score", lower_is_better=True),
    MeasureName("accuracy", "accuracy", "share of right answers", lower_is_better=False),
    MeasureName("auc", "AUC", "area under the ROC curve", lower_is_better=False),
)
_MEANS: dict[Measure, Reward] = {
    "mae": ABSOLUTE_ERROR,
    "accuracy": EXACT,
    "log_loss": LOG_LOSS,
    "brier": BRIER,
}
# What rewards of numbers give.
_OF_NUMBERS = {"rmse", "mae", "accuracy"}
_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one arm's predictions were against the truth; None for what does not fit them.

    Attributes:
        n: Truths that met a prediction; of numbers only those that are numbers.
        rmse: Root mean squared error in units of the truth.
        mae: Mean absolute error.
        accuracy: Share of predictions equal to the truth.
        log_loss: Mean log loss in nats.
        brier: Mean Brier score.
        auc: Area under the ROC curve.
    """

    n: int
    rmse: float | None = None
    mae: float | None = None
    accuracy: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    auc: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Quality of each arm during one stretch of time.

    Attributes:
        start_ms: First request in it whose truth is known, milliseconds since 1970 in UTC.
        end_ms: Last such request in it.
        arms: One entry per arm.
    """

    start_ms: int
    end_ms: int
    arms: tuple[Quality, ...]


def measure(
    truths: Sequence[Truth], arm: int, wanted: Sequence[Measure] = (), terms: Terms = NO_TERMS
) -> Quality:
    """Measure one arm.

    Args:
        truths: Of all arms.
        arm: Position of the arm.
        wanted: What the reward says to measure; empty for what fits the data, as where no such
            measure does. Of probabilities whatever is known of them, whatever the reward.
        terms: Classes of the arm.
    """
    own = _own(truths, arm, wanted, terms)
    values = _values(_of_probabilities(own, wanted, terms) or wanted, own, terms)
    if not any(value is not None for value in values.values()):
        values = _values(_fitting(own), own, terms)
    # A text among numbers cannot be withdrawn, and must not hide the rest.
    n = len(_scores(SQUARED_ERROR, own, terms)) if "rmse" in values else len(own)
    return Quality(n, **values)


def measures_of(qualities: Iterable[Quality]) -> list[MeasureName]:
    """Name the measures that some of these have."""
    known = list(qualities)
    return [name for name in MEASURES if any(getattr(one, name.field) is not None for one in known)]


def over_time(
    truths: Truths,
    terms: Sequence[Terms],
    wanted: Sequence[Measure] = (),
    windows: int = WINDOWS,
) -> tuple[Window, ...]:
    """Split the truths into so many stretches of equal count and measure each.

    The stretches are of the time of the requests: truths may come late and all at once.

    Args:
        truths: In any order.
        terms: Those of each arm.
        wanted: As in `measure`.
        windows: How many.
    """
    size = math.ceil(len(truths) / windows)
    truths = truths.by_time()
    found = []
    for start in range(0, len(truths), size or 1):
        part = truths[start : start + size]
        qualities = tuple(measure(part, arm, wanted, its) for arm, its in enumerate(terms))
        found.append(Window(part[0].time_ms, part[-1].time_ms, qualities))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Truths of one arm that are numbers, as are their predictions, n of them."""

    predictions: NDArray[np.float64]
    truths: NDArray[np.float64]

    def __len__(self) -> int:
        return self.truths.size


_Own: TypeAlias = Sequence[Truth] | _Numbers


def _own(truths: Sequence[Truth], arm: int, wanted: Sequence[Measure], terms: Terms) -> _Own:
    # Under a cost matrix a number may be a probability, which its type helps to tell.
    if isinstance(truths, Truths) and set(wanted) <= _OF_NUMBERS and not terms.costs:
        numbers = truths.numbers(arm)
        if numbers is not None:
            return _Numbers(*numbers)
    return [seen for seen in truths if seen.arm == arm]


def _values(names: Iterable[Measure], truths: _Own, terms: Terms) -> dict[Measure, float | None]:
    return {name: _value(name, truths, terms) for name in names}


def _value(name: Measure, truths: _Own, terms: Terms) -> float | None:
    if name == "auc":
        assert not isinstance(truths, _Numbers)
        return _auc(truths, terms)
    scores = _scores(_MEANS.get(name, SQUARED_ERROR), truths, terms)
    if not len(scores):
        return None
    mean = _mean(scores)
    return math.sqrt(-mean) if name == "rmse" else mean if name == "accuracy" else -mean


def _mean(scores: Sequence[float] | NDArray[np.float64]) -> float:
    """The mean, rounded once: the sum is exact (Shewchuk 1997), in whatever order."""
    if not isinstance(scores, np.ndarray):
        return fmean(scores)
    parts = (scores[at : at + _AT_ONCE].tolist() for at in range(0, scores.size, _AT_ONCE))
    return math.fsum(itertools.chain.from_iterable(parts)) / scores.size


def _scores(reward: Reward, truths: _Own, terms: Terms) -> Sequence[float] | NDArray[np.float64]:
    """Rewards of those truths that have one; a text is never a number here."""
    if isinstance(truths, _Numbers):
        values = reward.of_numbers(truths.predictions, truths.truths)
        assert values is not None
        return values[~np.isnan(values)]
    numeric = reward.needs_numbers
    found = []
    for seen in truths:
        if numeric and not are_numbers(seen.prediction, seen.truth):
            continue
        try:
            found.append(reward(_by_class(seen.prediction, terms), seen.truth, terms))
        except ValueError:
            continue
    return found


def _of_probabilities(truths: _Own, wanted: Sequence[Measure], terms: Terms) -> tuple[Measure, ...]:
    """Return the measures of probabilities where most answers are such of one truth, else none."""
    if isinstance(truths, _Numbers) or "rmse" in wanted:
        return ()
    # Where there are several truths, these are outputs that lie in [0, 1] and happen to sum to 1.
    answers = [seen.prediction for seen in truths if is_single(seen.truth)]
    if not terms.costs:
        answers = [each for each in answers if not is_single(each)]
    # Nearly all answers of a model are alike, so most rewards need no look at each.
    if len(answers) * 2 <= len(truths):
        return ()
    known = sum(are_probabilities(_by_class(each, terms)) for each in answers)
    return LOG_LOSS.measures if known * 2 > len(truths) else ()


def _by_class(prediction: Answer, terms: Terms) -> Answer:
    """Return a probability of one number as one per class; any other answer as it is.

    Only where costs are known: without, the rewards say what a number is.
    """
    if terms.costs and is_number(prediction) and is_probability(prediction, terms):
        return [1 - prediction, prediction]
    return prediction


def _fitting(truths: _Own) -> tuple[Measure, ...]:
    """Say what can be measured of most of these."""
    if isinstance(truths, _Numbers):
        return "rmse", "mae"
    numbers = sum(are_numbers(seen.prediction, seen.truth) for seen in truths)
    if numbers * 2 >= len(truths):
        return "rmse", "mae"
    several = sum(not is_single(seen.prediction) and is_single(seen.truth) for seen in truths)
    return LOG_LOSS.measures if several * 2 > len(truths) else ("accuracy",)


def _auc(truths: Sequence[Truth], terms: Terms) -> float | None:
    """Area under the ROC curve of two classes; None for more, or while one has no truth."""
    scores, positive = [], []
    for seen in truths:
        try:
            found = probabilities(seen.prediction, terms)
        except ValueError:
            continue
        is_class = [same(name, seen.truth) for name, _ in found]
        if len(found) == 2 and is_class.count(True) == 1:
            scores.append(found[1][1])
            positive.append(is_class[1])
    return area_under_roc(scores, positive)
