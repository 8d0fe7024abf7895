"""Losses whose mean over all answers is estimated, and what an answer says of its own loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.quality_measures import MEASURES
from mlops.rewards.base import Terms, Value
from mlops.rewards.kinds import is_number, same
from mlops.rewards.probabilities import probabilities


@dataclass(frozen=True, slots=True)
class PoweredKind:
    """What is estimated: a loss, its least and largest value, and how a mean becomes a measure."""

    name: str
    loss: Callable[[Value, Value, Terms], float]
    span: tuple[float, float | None]
    of_mean: Callable[[float], float] = lambda x: x


def _positive(prediction: Value, truth: Value, terms: Terms) -> float:
    found = probabilities(prediction, terms)
    if len(found) != 2 or not any(same(name, truth) for name, _ in found):
        raise ValueError("it is no probability of two classes")
    return float(same(found[1][0], truth))


def powered_kinds(names: Sequence[str], n_classes: int) -> list[PoweredKind]:
    """Return what is estimated of answers that are watched for these measures.

    Args:
        names: As `measures_for` returns them.
        n_classes: Classes that an answer has probabilities of; 0 for none.
    """
    spans: Mapping[str, tuple[float, float | None]] = {
        "rmse": (0.0, None),
        "mae": (0.0, None),
        "error_rate": (0.0, 1.0),
        "brier": (0.0, 1.0 if n_classes == 2 else 2.0),
        "calibration": (-1.0, 1.0),
    }
    found = [
        PoweredKind(name, each.loss, spans[name], each.of_mean)
        for name, each in MEASURES.items()
        if name in names
    ]
    if "calibration" in names and n_classes == 2:
        found.append(PoweredKind("positive_rate", _positive, (0.0, 1.0)))
    return found


def covariates(answers: Sequence[Value], terms: Terms) -> NDArray[np.float64]:
    """Return what the answers say of their own loss, (n, 2)."""
    return np.array([covariates_of(each, terms) for each in answers], dtype=np.float64).reshape(
        -1, 2
    )


def covariates_of(answer: Value, terms: Terms) -> tuple[float, float]:
    """Return those of one answer."""
    likely = likely_of(answer, terms)
    if len(likely) == 2:
        return likely[1], likely[0] * likely[1]
    if likely:
        return 1 - max(likely), sum(p * p for p in likely)
    if is_number(answer):
        number = float(np.clip(float(answer), -1e100, 1e100))
        return number, number * number
    return 0.0, 0.0


def likely_of(answer: Value, terms: Terms) -> list[float]:
    """Return the probabilities of the classes in an answer; empty if it has none."""
    if is_number(answer) and len(terms.classes) != 2 and not 0 <= float(answer) <= 1:
        return []
    try:
        return [p for _, p in probabilities(answer, terms)]
    except ValueError:
        return []
