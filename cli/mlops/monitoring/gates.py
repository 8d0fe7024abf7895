"""What must hold before a verdict may be acted on.

A comparison speaks of units with a reward. Where arms differ in who has one, because answers are
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

from mlops.monitoring.evidence import Evidence
from mlops.stats.missing import MissingFeedback, missing_feedback

GateName = Literal["feedback", "failures", "duration", "effect over time"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of a verdict.

    Attributes:
        name: What it is about.
        passed: Whether it holds.
        p_value: Anytime-valid p-value of its test; None where it is no test.
        text: What was found, as a sentence.
        hint: What to do about it; empty if it holds.
    """

    name: GateName
    passed: bool
    p_value: float | None
    text: str
    hint: str = ""


def gates_of(evidence: Evidence) -> tuple[Gate, ...]:
    """Check the conditions of an experiment's verdict; none with a single arm."""
    if len(evidence.spec.arms) < 2 or not evidence.asked.arms.size:
        return ()
    gates = []
    if evidence.spec.attribution.failed is None:
        gates.append(_failures(evidence))
    if not evidence.spec.attribution.fills_silence:
        gates.append(_feedback(evidence))
    return tuple(gates)


def _failures(evidence: Evidence) -> Gate:
    asked = evidence.asked
    everybody = np.ones(asked.arms.size, dtype=bool)
    found = _test(evidence, everybody, ~asked.failed)
    shares = _shares(evidence, 1 - found.rates)
    if not found.differs:
        return Gate("failures", True, found.p_value, f"Failed requests: {shares}.")
    return Gate(
        "failures",
        False,
        found.p_value,
        f"Arms differ in how many requests fail or are refused: {shares}. The others may be the "
        "easier ones.",
        "`mlops logs` has the reasons. Mend the arm, or say what a failure is worth: `[feedback] "
        "failed = REWARD`.",
    )


def _feedback(evidence: Evidence) -> Gate:
    asked = evidence.asked
    # With a reward of their own, failures are not silent.
    answered = asked.answered | (asked.failed & (evidence.spec.attribution.failed is not None))
    found = _test(evidence, asked.closed, answered)
    shares = _shares(evidence, found.rates)
    if not found.differs:
        return Gate("feedback", True, found.p_value, f"Answered: {shares}.")
    return Gate(
        "feedback",
        False,
        found.p_value,
        f"Arms differ in how many requests have feedback: {shares}. Those who answer are not all.",
        "Find out why; or say how long feedback may take and what silence means: `[feedback] "
        "window` and `missing`.",
    )


def _test(
    evidence: Evidence, asked: NDArray[np.bool_], answered: NDArray[np.bool_]
) -> MissingFeedback:
    shape = (len(evidence.revisions), len(evidence.spec.arms))
    counts = evidence.asked.count(asked, shape)
    return missing_feedback(counts, evidence.asked.count(asked & answered, shape), evidence.weights)


def _shares(evidence: Evidence, rates: NDArray[np.float64]) -> str:
    """Write a share for each arm: `a` 98.1 %, `b` 91.0 %."""
    parts: Sequence[str] = [
        f"`{arm.name}` {rate:.1%}".replace("%", " %")
        for arm, rate in zip(evidence.spec.arms, rates, strict=True)
        if not np.isnan(rate)
    ]
    return ", ".join(parts)
