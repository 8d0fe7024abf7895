"""The result of an evaluation, and when it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlops.stats.off_policy import Estimate, Weights

Kind = Literal["weights", "learning", "model"]


@dataclass(frozen=True, slots=True)
class LoggedArm:
    """One arm of the logged deployment.

    Attributes:
        arm: Its name.
        decisions: Decisions with a reward that it answered.
        logged: Mean probability with which it was drawn.
        share: Mean probability with which the evaluated policy draws it; None for a model.
        mean: Mean reward of its decisions; None without any.
    """

    arm: str
    decisions: int
    logged: float
    share: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Decisions that say nothing about what is evaluated, and are left out.

    Attributes:
        reason: Why, human-readable.
        decisions: How many.
    """

    reason: str
    decisions: int


@dataclass(frozen=True, slots=True)
class Gain:
    """How much more is earned than by something else, on the same decisions.

    Attributes:
        than: `served` for what was answered, else the name of an arm.
        estimates: At this look, and at every look.
    """

    than: str
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What something that was never live would have earned.

    Attributes:
        name: Deployment whose journal was read.
        subject: What was evaluated, as it was written.
        kind: What that is.
        reward: Name of the reward.
        revisions: Revisions whose decisions were taken.
        decisions: Decisions with a reward: requests, or sticky units.
        used: Those with information about the subject.
        alpha: Probability that an interval misses.
        min_effective: Effective sample size below which nothing is estimated.
        effective: Effective sample size.
        served: What was earned, per decision.
        estimates: What the subject would have earned; empty where that is refused.
        gains: The same as differences; empty where that is refused.
        weights: Diagnostics of the weights; None where nothing is weighed.
        arms: The logged arms.
        unsupported: What was left out.
        refused: Why there is no estimate; empty if there is.
        hint: What to do then.
        notes: What a reader must know.
    """

    name: str
    subject: str
    kind: Kind
    reward: str
    revisions: tuple[int, ...]
    decisions: int
    used: int
    alpha: float
    min_effective: float
    effective: float
    served: Estimate
    estimates: tuple[Estimate, ...]
    gains: tuple[Gain, ...]
    weights: Weights | None
    arms: tuple[LoggedArm, ...]
    unsupported: tuple[Unsupported, ...] = ()
    refused: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()


def refusal(effective: float, least: float, weights: Weights | None) -> tuple[str, str]:
    """Say why nothing can be estimated, and what helps; empty texts if something can.

    Args:
        effective: Effective sample size.
        least: The smallest that is taken.
        weights: Diagnostics of the weights; None where nothing is weighed.
    """
    if weights is not None and not weights.plausible:
        why = (
            f"The weights average {weights.mean:.3g}, and 1 is outside of what chance explains "
            f"({weights.lower:.3g} to {weights.upper:.3g})."
        )
        cure = (
            "Arms were not drawn as logged, or some of them get less feedback than others: "
            "`mlops report` tests both."
        )
        return why, cure
    if not effective:
        why = "No decision with a reward shows what it would have earned."
        return why, "It has to answer, or to draw arms, as the deployment sometimes did."
    if effective < least:
        why = (
            f"The decisions weigh as much as {effective:,.0f} that the evaluated policy had drawn "
            f"itself; below {least:g} no estimate is made."
        )
        return why, "Log more traffic of the arms that it draws, or accept less: `--min-effective`."
    return "", ""
