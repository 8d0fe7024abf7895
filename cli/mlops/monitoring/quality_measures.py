"""What a model is watched for where the truth arrives, each measure as a loss whose mean is tested.

rmse         squared error; the limit is that of the mean square; of several outputs their mean
mae          absolute error, likewise
error_rate   1 for an answer that is not the truth; of probabilities the most likely class
brier        Brier score of probabilities
log_loss     log loss of probabilities, where that is what the run has logged of them
calibration  probability of the second of two classes, minus whether it was that: on average 0
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mlops.rewards import reward_called
from mlops.rewards.base import NO_TERMS, Answer, Reward, Terms, Value
from mlops.rewards.brier import BRIER
from mlops.rewards.choosing import kind_of_answer
from mlops.rewards.errors import ABSOLUTE_ERROR, SQUARED_ERROR
from mlops.rewards.exact import EXACT
from mlops.rewards.kinds import (
    are_numbers,
    is_single,
    outputs_in,
    pair_of,
    pairs_of,
    same,
)
from mlops.rewards.log_loss import LOG_LOSS
from mlops.rewards.probabilities import are_probabilities, is_probability, probabilities

MeasureName = Literal["rmse", "mae", "error_rate", "brier", "log_loss", "calibration"]

#: How much worse than the validation figure is worse: that has an error of its own.
MARGIN = 0.1
#: Mean difference of probability and outcome that is still calibrated.
CALIBRATED = 0.05
_OF_PROBABILITIES: tuple[MeasureName, ...] = ("error_rate", "brier", "calibration")
# Where validation had no error at all.
_LEAST = 0.005
_PART = re.compile(r"^(val|valid|validation|test|eval|held_?out|holdout)[_\-./ ]+")
# Those that lie in [0, 1]; some log them in per cent, which cannot be told from a mistake.
_SHARES: tuple[MeasureName, ...] = ("error_rate", "brier")
_ALIASES: Mapping[str, tuple[MeasureName, Callable[[float], float]]] = {
    "rmse": ("rmse", lambda x: x),
    "root_mean_squared_error": ("rmse", lambda x: x),
    "mse": ("rmse", math.sqrt),
    "mean_squared_error": ("rmse", math.sqrt),
    "mae": ("mae", lambda x: x),
    "mean_absolute_error": ("mae", lambda x: x),
    "accuracy": ("error_rate", lambda x: 1 - x),
    "accuracy_score": ("error_rate", lambda x: 1 - x),
    "error_rate": ("error_rate", lambda x: x),
    "brier": ("brier", lambda x: x),
    "brier_score": ("brier", lambda x: x),
    "brier_score_loss": ("brier", lambda x: x),
    "log_loss": ("log_loss", lambda x: x),
    "logloss": ("log_loss", lambda x: x),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure.

    Attributes:
        name: Its name.
        loss: Loss of a prediction and its truth.
        of_mean: Turns a mean loss into the measure.
        to_mean: Turns the measure into a mean loss.
    """

    name: MeasureName
    loss: Callable[[Value, Value, Terms], float]
    of_mean: Callable[[float], float] = lambda x: x
    to_mean: Callable[[float], float] = lambda x: x

    def limit(self, reference: float) -> float:
        """Return the mean loss beyond which it is worse than its validation figure."""
        return max(self.to_mean(reference * (1 + MARGIN)), self.to_mean(_LEAST))


def _minus(reward: Reward) -> Callable[[Value, Value, Terms], float]:
    def loss(prediction: Value, truth: Value, terms: Terms) -> float:
        if reward.needs_numbers and not are_numbers(prediction, truth):
            raise ValueError("they are no numbers")
        return -reward(prediction, truth, terms)

    return loss


def _wrong(prediction: Value, truth: Value, terms: Terms) -> float:
    if is_probability(prediction, terms):
        likely = max(probabilities(prediction, terms), key=lambda each: each[1])[0]
        return float(not same(likely, truth))
    return 1.0 - EXACT(prediction, truth, terms)


def _miscalibrated(prediction: Value, truth: Value, terms: Terms) -> float:
    found = probabilities(prediction, terms)
    if len(found) != 2 or not any(same(name, truth) for name, _ in found):
        raise ValueError("it is no probability of two classes")
    name, probability = found[1]
    return probability - same(name, truth)


MEASURES: Mapping[MeasureName, Measured] = {
    "rmse": Measured("rmse", _minus(SQUARED_ERROR), math.sqrt, lambda x: x * x),
    "mae": Measured("mae", _minus(ABSOLUTE_ERROR)),
    "error_rate": Measured("error_rate", _wrong),
    "brier": Measured("brier", _minus(BRIER)),
    "log_loss": Measured("log_loss", _minus(LOG_LOSS)),
    "calibration": Measured("calibration", _miscalibrated),
}


def measures_for(reward: str, prediction: Answer, truth: Value) -> tuple[MeasureName, ...]:
    """Return what a model is watched for.

    Args:
        reward: Name of the deployment's reward.
        prediction: Its first prediction whose truth is known.
        truth: That truth.

    Returns:
        None of them where the two cannot be compared.
    """
    declared = reward_called(reward).measures
    if "brier" in declared:
        return _OF_PROBABILITIES
    if "rmse" not in declared and is_single(truth) and are_probabilities(prediction):
        # Only of two classes is there one that may be too likely.
        return _OF_PROBABILITIES[: 3 if len(outputs_in(prediction)) == 2 else 2]
    if "rmse" in declared or (not declared and are_numbers(prediction, truth)):
        return "rmse", "mae"
    if not declared and why_not_compared(prediction, truth):
        return ()
    return ("error_rate",)


def why_not_compared(prediction: Answer, truth: Answer) -> str:
    """Say why an answer cannot be right or wrong by this truth; empty if it can."""
    if is_single(truth) and not is_single(prediction):
        return "" if kind_of_answer(prediction) == "probabilities" else pair_of(prediction, truth)
    return "" if pairs_of(prediction, truth) else pair_of(prediction, truth)


def most_measures(reward: str) -> int:
    """Return the most that `measures_for` has of a reward, whatever the predictions."""
    return 2 if "rmse" in reward_called(reward).measures else len(_OF_PROBABILITIES)


def with_figures(
    names: Sequence[MeasureName], figures: Mapping[MeasureName, float]
) -> tuple[MeasureName, ...]:
    """Watch the log loss of probabilities in place of the Brier score where only that is known.

    >>> with_figures(("error_rate", "brier"), {"log_loss": 0.4})
    ('error_rate', 'log_loss')
    """
    known = "log_loss" in figures and "brier" not in figures
    return tuple("log_loss" if name == "brier" and known else name for name in names)


def metrics_of(measure: MeasureName) -> list[str]:
    """Return the names of the metrics of a run that are read as its validation figure.

    >>> metrics_of("mae")
    ['mae', 'mean_absolute_error']
    """
    wanted = {measure, "log_loss"} if measure == "brier" else {measure}
    return [name for name, (of, _) in _ALIASES.items() if of in wanted]


def validation_figures(metrics: Mapping[str, float]) -> dict[MeasureName, float]:
    """Return the validation figures among the metrics that a run logged.

    A metric of the training rows themselves, `training_…` or `train_…`, is none, nor is an
    accuracy, error rate or Brier score outside [0, 1].

    >>> validation_figures({"val_accuracy": 0.75, "training_accuracy": 1.0, "mse": 4.0})
    {'error_rate': 0.25, 'rmse': 2.0}
    >>> validation_figures({"val_accuracy": 93.5, "error_rate": 6.5, "brier": 12.0})
    {}
    """
    found: dict[MeasureName, float] = {}
    for name, value in metrics.items():
        plain = _PART.sub("", name.lower())
        if plain in _ALIASES and math.isfinite(value) and value >= 0:
            measure, read = _ALIASES[plain]
            if measure not in _SHARES or value <= 1:
                found.setdefault(measure, read(value))
    return found


__all__ = [
    "CALIBRATED", "MARGIN", "MEASURES", "NO_TERMS", "MeasureName", "Measured", "measures_for",
    "metrics_of", "most_measures", "validation_figures", "why_not_compared", "with_figures",
]  # fmt: skip
