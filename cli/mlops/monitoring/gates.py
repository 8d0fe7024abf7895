"""What must hold before a verdict may be acted on.

A comparison is about units with a reward. If arms differ in which have one, because feedback is
missing or requests fail more often under one of them, it says little about all requests, however
narrow its interval is. A gate that does not hold withholds the verdict; nothing is latched, since
feedback may still come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.answers import answers_of
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.importance import importance_by_row
from mlops.spec.attribution import LEFT_OUT
from mlops.stats.missing import MissingFeedback, missing_feedback, robust_interval
from mlops.stats.sample_ratio import sample_ratio

# A difference of shares that a reader may wonder about.
_NOTICED = 0.02

GateName = Literal[
    "feedback",
    "failures",
    "duration",
    "effect over time",
    "sample ratio",
    "labels",
    "live check",
    "guardrail",
]


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of a verdict.

    Attributes:
        name: What it is about.
        passed: Whether it holds.
        p_value: Anytime-valid p-value of its test; None where it is not a test.
        text: What was found, as a sentence.
        hint: What to do about it; empty if it holds.
        promotion_only: Whether it is about the arm that would be promoted, so that the baseline may
            be kept without it.
    """

    name: GateName
    passed: bool
    p_value: float | None
    text: str
    hint: str = ""
    promotion_only: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a comparison has shown.

    Attributes:
        candidate: Position of the arm that is compared with the baseline.
        lower: Lower bound of the difference.
        upper: Upper bound.
    """

    candidate: int
    lower: float
    upper: float


def gates_of(evidence: Evidence, bounds: Sequence[Bounds]) -> tuple[Gate, ...]:
    """Check the conditions of an experiment's verdict; none with a single arm.

    Args:
        evidence: All of the experiment.
        bounds: The comparisons.
    """
    if len(evidence.spec.arms) < 2 or not evidence.asked.n:
        return ()
    gates = []
    if evidence.spec.attribution.failed is None:
        gates.append(_failures(evidence))
    if not evidence.spec.attribution.fills_silence:
        gates.append(_feedback(evidence, bounds))
    if any(each.lower > 0 or each.upper < 0 for each in bounds):
        gates += _doubt(evidence)
    return tuple(gates)


def _doubt(evidence: Evidence) -> list[Gate]:
    """Wait if the split is nearly broken: what breaks it often causes an effect, too."""
    ratio = sample_ratio(evidence.asked.all, evidence.weights)
    if not ratio.doubtful or ratio.mismatch:
        return []
    text = "The shares of the traffic lie further from the weights than they should."
    hint = "More requests will tell: this passes by itself, or turns into a mismatch."
    return [Gate("sample ratio", False, ratio.p_value, text, hint)]


def _failures(evidence: Evidence) -> Gate:
    asked = evidence.asked
    found = missing_feedback(asked.all, asked.all - asked.failed, evidence.weights)
    shares = _shares(evidence, 1 - found.rates)
    if not found.differs:
        over_time = _over_time(evidence, 1 - found.rates, 1 - found.weighted)
        return Gate("failures", True, found.p_value, f"Failed requests: {shares}.{over_time}")
    return Gate(
        "failures",
        False,
        found.p_value,
        f"Arms differ in how many requests fail or are refused: {shares}. The others may be the "
        "easier ones.",
        "`mlops logs` has the reasons. Fix the arm, or say what a failure is worth: `[feedback] "
        "failed = REWARD`.",
    )


def feedback_test(evidence: Evidence) -> MissingFeedback:
    """Test whether the same shares of requests have feedback, by revision and arm."""
    asked = evidence.asked
    return missing_feedback(asked.closed, asked.told, evidence.weights)


def _feedback(evidence: Evidence, bounds: Sequence[Bounds]) -> Gate:
    found = feedback_test(evidence)
    shares = _answered(evidence, found.rates)
    if not found.differs:
        over_time = _over_time(evidence, found.rates, found.weighted)
        rests = [each for each in bounds if _rests_on_silence(evidence, each)]
        if not rests or evidence.spec.attribution.missing == LEFT_OUT:
            p_value = None if np.isnan(found.rates).all() else found.p_value
            return Gate("feedback", True, p_value, f"{shares}{over_time}")
        name = evidence.spec.arms[rests[0].candidate].name
        return Gate(
            "feedback",
            False,
            found.p_value,
            f"{shares} That small difference could by itself make `{name}` look so.{over_time}",
            "Collect more feedback, or say what silence means: `[feedback] window` and `missing`.",
        )
    return Gate(
        "feedback",
        False,
        found.p_value,
        f"Arms differ in how many requests have feedback. {shares} They are not a random sample.",
        "Find out why; or say how long feedback may take and what silence means: `[feedback] "
        "window` and `missing`.",
    )


def _rests_on_silence(evidence: Evidence, bounds: Bounds) -> bool:
    """Whether a decided comparison is open once missing feedback is allowed for.

    In the requests that the comparison is of: silence in a long step of few requests for one of
    the arms hardly moves it, however many requests that step has.
    """
    if bounds.lower <= 0 <= bounds.upper:
        return False
    pair = (bounds.candidate, evidence.base)
    ours, theirs = answers_of(evidence, pair, importance_by_row(evidence, pair))
    low, high = robust_interval(
        (bounds.lower, bounds.upper), ours.rewards, theirs.rewards, (ours.rate, theirs.rate),
        (ours.weights, theirs.weights),
    )  # fmt: skip
    return low <= 0 <= high


def _answered(evidence: Evidence, rates: NDArray[np.float64]) -> str:
    shares = _shares(evidence, rates)
    if not shares:
        return "Requests with feedback: none can be judged yet."
    return f"Requests with feedback: {shares}."


def _over_time(
    evidence: Evidence, rates: NDArray[np.float64], weighted: NDArray[np.float64]
) -> str:
    """Say why shares differ where the test finds nothing: arms had their requests at other times.

    Empty where the probabilities were the same all the time, or that is not what makes them differ.
    """
    known = ~np.isnan(rates)
    plain, fair = rates[known], weighted[known]
    if np.isnan(fair).any() or not (np.abs(plain - fair) >= _NOTICED).any():
        return ""
    if np.ptp(fair) >= np.ptp(plain):
        return ""
    return (
        " Arms had their requests at different times; weighted by their probabilities: "
        f"{_shares(evidence, weighted)}."
    )


def _shares(evidence: Evidence, rates: NDArray[np.float64]) -> str:
    """Write a share for each arm: `a` 98.1 %, `b` 91.0 %."""
    parts: Sequence[str] = [
        f"`{arm.name}` {rate:.1%}".replace("%", " %")
        for arm, rate in zip(evidence.spec.arms, rates, strict=True)
        if not np.isnan(rate)
    ]
    return ", ".join(parts)
