"""How the evidence of an experiment is judged: its analysis plan, frozen with the revision.

What is compared (`adjust`, `per`) decides what the error guarantee is about, so another choice is
another experiment. What is asked of the comparison (`worth`, guardrails, `min_days`) is read off
intervals that hold for every choice at once, so it may change while evidence continues; the newest
revision's counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from mlops.errors import InvalidInputError, did_you_mean
from mlops.spec.attribution import read_duration

#: `min_days` that lets the traffic decide.
AUTO = -1.0
#: Means a unit's own rewards from before the experiment, in place of a feature.
HISTORY = "history"
_DAY_S = 86_400

#: What a ratio of sums is taken over; empty for the mean over units.
Per: TypeAlias = Literal["", "outcomes", "requests"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """How the evidence is judged. Declared at deployment.

    Attributes:
        worth: The smallest difference worth having, in units of reward; None for none declared.
        guardrails: Metrics that must not get worse, each with the loss that is accepted.
        min_days: Days that the evidence must span; `AUTO` for a week where it is about days.
        adjust: Feature, or `history`, that rewards are adjusted by; empty for none.
        per: What the sum of rewards is divided by, over all units of an arm; empty for the mean of
            units.
    """

    worth: float | None = None
    guardrails: tuple[tuple[str, float], ...] = ()
    min_days: float = AUTO
    adjust: str = ""
    per: Per = ""

    @property
    def estimand(self) -> list[str]:
        """The part that makes it another experiment; empty for a plain comparison of means."""
        return [f"{name} {value}" for name, value in self._compared if value]

    @property
    def _compared(self) -> tuple[tuple[str, str], ...]:
        return ("adjust", self.adjust), ("per", self.per)


def read_analysis(
    worth: str, guardrails: tuple[tuple[str, float], ...], min_days: str, adjust: str, per: str
) -> Analysis:
    """Read an analysis plan as settings have it.

    Raises:
        InvalidInputError: One of them is malformed.
    """
    days = AUTO if min_days == "auto" else _number(min_days)
    if days != AUTO and not 0 <= days < math.inf:
        raise InvalidInputError(
            f"`[report] min_days` must be `auto` or a number of days, not `{min_days}`.",
            hint="0 lets a verdict stand whenever it is reached.",
        )
    if per not in get_args(Per):
        names = [name for name in get_args(Per) if name]
        raise InvalidInputError(
            f"`[report] per` must be {' or '.join(names)}, not `{per}`.",
            hint=did_you_mean(per, names),
        )
    return Analysis(read_worth(worth), guardrails, days, adjust, cast("Per", per))


def read_worth(text: str) -> float | None:
    """Read the smallest difference worth having; None where the text is empty.

    Raises:
        InvalidInputError: It is not a positive number.
    """
    value = _number(text) if text else None
    if value is not None and not 0 < value < math.inf:
        raise InvalidInputError(
            f"`[report] worth` must be a positive number, not `{text}`.",
            hint="It is the smallest difference of rewards that would matter.",
        )
    return value


def analysis_from(document: Mapping[str, Any]) -> Analysis:
    """Read an analysis plan out of a written spec; one without is the default.

    Raises:
        KeyError, TypeError, ValueError: It is of another form.
    """
    worth = document.get("worth")
    margins = document.get("guardrails", ())
    return Analysis(
        worth=None if worth is None else float(worth),
        guardrails=tuple((str(name), float(margin)) for name, margin in margins),
        min_days=float(document.get("min_days", AUTO)),
        adjust=str(document.get("adjust", "")),
        per=cast("Per", str(document.get("per", ""))),
    )


def describe_changes(before: Analysis, after: Analysis) -> list[tuple[str, str, str]]:
    """Return what differs: the name of the setting, its value, and the one before."""
    old, new = written(before), written(after)
    changed = [name for name in new if new[name] != old[name]]
    return [(name, new[name] or "none", old[name] or "none") for name in changed]


def written(analysis: Analysis) -> dict[str, str]:
    """Write an analysis plan for display, by the names of its settings; empty where undeclared.

    >>> written(Analysis(worth=0.5, guardrails=(("errors", 0.01),)))["guardrails"]
    'errors=0.01'
    """
    return {
        "worth": "" if analysis.worth is None else f"{analysis.worth:g}",
        "guardrails": ", ".join(f"{name}={margin:g}" for name, margin in analysis.guardrails),
        "min_days": "auto" if analysis.min_days == AUTO else f"{analysis.min_days:g}",
        "adjust": analysis.adjust,
        "per": analysis.per,
    }


def read_horizon(text: str) -> tuple[int, float]:
    """Read a planned end: units with a reward, or days.

    >>> read_horizon("20000"), read_horizon("14d"), read_horizon("2w"), read_horizon("")
    ((20000, 0.0), (0, 14.0), (0, 14.0), (0, 0.0))

    Returns:
        Units, and days; both 0 without a planned end.

    Raises:
        InvalidInputError: It is neither.
    """
    text = text.strip()
    if not text:
        return 0, 0.0
    if text.isdecimal():
        return int(text), 0.0
    try:
        return 0, read_duration(text) / _DAY_S
    except InvalidInputError:
        raise InvalidInputError(
            f"The horizon `{text}` is neither a whole number of requests nor a time.",
            hint="Write `20000`, or `14d`.",
        ) from None


def write_horizon(units: int, days: float) -> str:
    """Write a planned end as `read_horizon` reads it.

    >>> write_horizon(20000, 0.0), write_horizon(0, 14.0), write_horizon(0, 0.0)
    ('20000', '14d', '')
    """
    return f"{days:g}d" if days else str(units) if units else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
