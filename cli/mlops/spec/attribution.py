"""Which feedback counts for a request, until when, and what silence means.

The attribution window is the time after a request in which its feedback counts; a request is judged
when its window has closed, in the order in which requests came. Without a window feedback counts as
it arrives, which is right only where every arm's feedback takes equally long.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from mlops.errors import InvalidInputError, did_you_mean

Repeated: TypeAlias = Literal["first", "last", "sum"]
#: `missing` of somebody who says that silence has nothing to do with the arm.
LEFT_OUT = "left-out"

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])")


@dataclass(frozen=True, slots=True)
class Attribution:
    """How outcomes are credited. Declared before looking; another one is another experiment.

    Attributes:
        window_s: Seconds after a request within which its feedback counts; 0 for no window.
        missing: Reward of a request whose window closed without feedback; `left-out` if such
            requests say nothing about the arms; None if nothing was declared.
        failed: Reward of a request that the model failed or refused; None to treat it as one
            without feedback.
        repeated: What several outcomes of one row mean: the `first` stands, the `last` corrects
            those before it, or they `sum` up, which they then also do over a sticky unit.
    """

    window_s: float = 0.0
    missing: float | str | None = None
    failed: float | None = None
    repeated: Repeated = "first"

    def __post_init__(self) -> None:
        """Take a whole number as what it means: a spec written by hand has `missing: 0`."""
        for name in ("missing", "failed"):
            value = getattr(self, name)
            if isinstance(value, int):
                object.__setattr__(self, name, float(value))

    @property
    def fills_silence(self) -> bool:
        """Whether a request without feedback has a reward."""
        return isinstance(self.missing, float)

    @property
    def is_default(self) -> bool:
        """Whether nothing was declared."""
        return self == Attribution()


def faults(attribution: Attribution) -> list[str]:
    """Return what is wrong with an attribution, as clauses; empty if nothing is."""
    found = []
    if not 0 <= attribution.window_s < math.inf:
        found.append(f"the feedback window must be 0 or longer, not {attribution.window_s:g} s")
    if attribution.fills_silence and not attribution.window_s:
        found.append(
            "a reward for missing feedback needs a feedback window, which says when it is missing"
        )
    if isinstance(attribution.missing, str) and attribution.missing != LEFT_OUT:
        found.append(f"`missing` must be a number or `{LEFT_OUT}`, not `{attribution.missing}`")
    if attribution.repeated not in get_args(Repeated):
        names = ", ".join(get_args(Repeated))
        found.append(f"`repeated` must be one of {names}, not `{attribution.repeated}`")
    numbers = (attribution.missing, attribution.failed)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        found.append("rewards of missing and failed requests must be finite")
    return found


def read_duration(text: str) -> float:
    """Read a duration in seconds.

    >>> read_duration("7d"), read_duration("90m"), read_duration("0")
    (604800.0, 5400.0, 0.0)

    Raises:
        InvalidInputError: It is not a number with a unit.
    """
    if text.strip() in ("", "0"):
        return 0.0
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError(
            f"`{text}` is not a duration.", hint="Write a number and s, m, h, d or w: `7d`."
        )
    return float(match[1]) * _UNITS_S[match[2]]


def write_duration(seconds: float) -> str:
    """Write a duration as `read_duration` reads it, in its largest whole unit.

    >>> write_duration(604800.0), write_duration(5400.0), write_duration(0.0)
    ('1w', '90m', '')
    """
    if not seconds:
        return ""
    unit = next(
        name for name, size in reversed(_UNITS_S.items()) if seconds % size == 0 or name == "s"
    )
    return f"{seconds / _UNITS_S[unit]:g}{unit}"


def write_number(value: float | str | None) -> str:
    """Write `missing` or `failed` as a setting has it.

    >>> write_number(None), write_number(0.0), write_number("left-out")
    ('', '0', 'left-out')
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:g}"


def read_attribution(window: str, missing: str, failed: str, repeated: str) -> Attribution:
    """Read the rules as settings have them.

    Raises:
        InvalidInputError: One of them is malformed.
    """
    worth = read_missing(failed)
    if isinstance(worth, str):
        raise InvalidInputError(f"`failed = {failed}` must be a number: the reward of a failure.")
    names = get_args(Repeated)
    if repeated not in names:
        hint = did_you_mean(repeated, names) or f"Use {', '.join(names)}."
        raise InvalidInputError(f"`repeated = {repeated}` is not known.", hint=hint)
    return Attribution(
        read_duration(window), read_missing(missing), worth, cast("Repeated", repeated)
    )


def describe(attribution: Attribution) -> str:
    """Say the rules in a few words.

    >>> describe(Attribution(604800.0, 0.0))
    'window 1w, missing 0'
    """
    parts = [
        f"window {write_duration(attribution.window_s)}" if attribution.window_s else "",
        f"missing {write_number(attribution.missing)}" if attribution.missing is not None else "",
        f"failed {write_number(attribution.failed)}" if attribution.failed is not None else "",
        f"repeated {attribution.repeated}" if attribution.repeated != "first" else "",
    ]
    return ", ".join(filter(None, parts)) or "as it arrives"


def read_missing(text: str) -> float | str | None:
    """Read a rule for silence: a number, `left-out`, or nothing.

    >>> read_missing("0"), read_missing("left-out"), read_missing("")
    (0.0, 'left-out', None)

    Raises:
        InvalidInputError: It is none of these.
    """
    if text in ("", "none"):
        return None
    if text == LEFT_OUT:
        return LEFT_OUT
    try:
        return float(text)
    except ValueError:
        closest = did_you_mean(text, [LEFT_OUT])
        raise InvalidInputError(
            f"`missing = {text}` is neither a number nor `{LEFT_OUT}`.", hint=closest
        ) from None
