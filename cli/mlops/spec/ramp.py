"""The plan of a canary's ramp, frozen with the revision that begins it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

from mlops.errors import InvalidInputError, UsageError, did_you_mean
from mlops.spec.attribution import read_duration, write_duration

#: The condition for the next step to begin.
Advance: TypeAlias = Literal["not-worse", "unless-worse"]
ADVANCES: tuple[Advance, ...] = get_args(Advance)
#: The share at which a canary is no canary any more, per cent.
ALL = 100.0
_EVERY_S = 1800.0


@dataclass(frozen=True, slots=True)
class Ramp:
    """How the share of a canary grows.

    The canary is the second arm, its baseline the first. All steps are one experiment.

    Attributes:
        steps: Shares of the canary, per cent, growing. A ramp that ends below 100 leaves the rest
            to the verdict.
        every_s: Least time of a step, seconds.
        alpha: Probability of ever rolling back a canary that is not worse.
        advance: Whether a step ends when every guardrail is shown to be kept (`not-worse`), or
            already where none is shown to be broken. The step to 100 always asks for the first.
        auto: Whether a process beside the server moves it.
    """

    steps: tuple[float, ...]
    every_s: float = _EVERY_S
    alpha: float = 0.05
    advance: Advance = "not-worse"
    auto: bool = False

    def step_of(self, share: float) -> int:
        """Number of the step with this share, in [0, 1], of the canary; -1 for none."""
        percents = [round(step, 6) for step in self.steps]
        percent = round(100 * share, 6)
        return percents.index(percent) if percent in percents else -1

    def next_after(self, step: int) -> float | None:
        """The share after a step, per cent; None after the last."""
        return self.steps[step + 1] if step + 1 < len(self.steps) else None


def read_ramp(
    steps: str, every: str, advance: str, *, auto: bool, canary_percent: float, origin: str = ""
) -> Ramp:
    """Read a ramp as a command line has it; `origin` is the setting's where that has the steps.

    >>> read_ramp("5,25,100", "30m", "", auto=False, canary_percent=5.0).steps
    (5.0, 25.0, 100.0)

    Raises:
        UsageError: It is malformed, or does not begin with the canary's share.
    """
    try:
        percents = tuple(float(part.strip().rstrip("%")) for part in steps.split(","))
    except ValueError:
        percents = ()
    grows = all(low < high for low, high in pairwise(percents))
    if not percents or not grows or not 0 < percents[0] < ALL or percents[-1] > ALL:
        raise UsageError(
            f"`{steps}` is not a ramp.",
            hint="Write growing percentages, such as `--ramp 5,25,50,100`.",
        )
    if percents[0] != canary_percent:
        own, none = (
            (f" of `[deploy] ramp` ({origin})", ", or `--ramp none`") if origin else ("", "")
        )
        raise UsageError(
            f"The ramp{own} begins with {percents[0]:g} %, and the canary gets "
            f"{canary_percent:g} %.",
            hint=f"Write `--ramp {canary_percent:g},…`, or `--canary REF={percents[0]:g}`{none}.",
        )
    every_s = read_duration(every) if every else _EVERY_S
    return Ramp(percents, every_s, advance=_advance(advance), auto=auto)


def _advance(text: str) -> Advance:
    for known in ADVANCES:
        if known == (text or ADVANCES[0]):
            return known
    raise UsageError(
        f"`--advance` is {' or '.join(ADVANCES)}, not `{text}`.",
        hint=did_you_mean(text, ADVANCES),
    )


def ramp_from(document: Mapping[str, Any] | None) -> Ramp | None:
    """Read a ramp out of a written spec.

    Raises:
        InvalidInputError: It is of another form.
        KeyError, TypeError, ValueError: Likewise.
    """
    if not document:
        return None
    if document["advance"] not in ADVANCES:
        raise InvalidInputError(f"A ramp does not advance `{document['advance']}`.")
    return Ramp(
        steps=tuple(float(step) for step in document["steps"]),
        every_s=float(document["every_s"]),
        alpha=float(document["alpha"]),
        advance=document["advance"],
        auto=bool(document["auto"]),
    )


def describe_ramp(ramp: Ramp | None) -> str:
    """Write a ramp for display.

    >>> describe_ramp(Ramp((5.0, 25.0, 100.0)))
    '5, 25, 100 % every 30m if not worse'
    """
    if ramp is None:
        return "none"
    steps = ", ".join(f"{step:g}" for step in ramp.steps)
    rule = "if not worse" if ramp.advance == "not-worse" else "unless worse"
    moved = ", by itself" if ramp.auto else ""
    return f"{steps} % every {write_duration(ramp.every_s)} {rule}{moved}"
