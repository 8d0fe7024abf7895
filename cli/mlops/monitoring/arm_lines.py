"""One short line per arm of a comparison of several, and what is counted there. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlops.monitoring.verdict import Comparison, leading, rounded, stands_out

#: What a comparison on the same rows counts: requests, or sticky units, with a label.
LABELLED = "labelled units"


def rewarded(sticky_by: str) -> str:
    """What a comparison of rewards counts, in the plural."""
    return f"{'sticky units' if sticky_by else 'requests'} with a reward"


@dataclass(frozen=True, slots=True)
class ArmLines:
    """Lines about several arms.

    Attributes:
        heading: What they say; empty without any.
        lines: One of each comparison, the leading one first, names in backticks.
    """

    heading: str = ""
    lines: tuple[str, ...] = ()


def arm_lines(comparisons: Sequence[Comparison], units: str, *, withheld: bool = False) -> ArmLines:
    """Say of each arm how it compares with the baseline, the leading one first.

    Numbers of units are those that would decide it: to plan with, and how far that may be off.

    Args:
        comparisons: Every other arm against the baseline.
        units: What they count, in the plural.
        withheld: Whether the verdict is, so that no arm is to be called better or worse.

    Returns:
        None with less than two comparisons, since the verdict says it all.
    """
    if len(comparisons) < 2:
        return ArmLines()
    first = leading(comparisons)
    rest = [c for c in comparisons if c is not first]
    rest.sort(key=lambda c: c.estimate if math.isfinite(c.estimate) else -math.inf, reverse=True)
    heading = (
        f"Each against `{first.baseline}`, the leading one first, and how many more {units} would "
        "decide it:"
    )
    return ArmLines(heading, tuple(_line(c, withheld) for c in (first, *rest)))


def _line(c: Comparison, withheld: bool) -> str:
    if c.waiting_for:
        return f"`{c.arm}`: too early to tell, {c.waiting_for}"
    if not math.isfinite(c.estimate):
        return f"`{c.arm}`: nothing is known yet"
    line = f"`{c.arm}`: {c.estimate + 0.0:+.3g} [{c.lower:+.3g}, {c.upper:+.3g}]"
    if withheld and (c.lower > 0 or c.upper < 0 or c.worse):
        return f"{line} decided, withheld"
    if c.lower > 0:
        return f"{line} better"
    if c.upper < 0 or c.worse:
        return f"{line} worse"
    so_far = f" {'behind' if c.estimate < 0 else 'ahead'} so far" if stands_out(c) else ""
    more = _more(c)
    return f"{line}{so_far}{', ' if more else ''}{more}"


def _more(c: Comparison) -> str:
    fewest, most = c.remaining_range or (0, None)
    if c.remaining is None:
        return f"at least {fewest:,} more" if fewest else ""
    if not c.remaining:
        return ""
    about = f"about {rounded(c.remaining)} more"
    if most is not None:
        return f"{about} ({f'{fewest:,} to' if fewest else 'up to'} {most:,})"
    return f"{about} (at least {fewest:,})" if fewest else about
