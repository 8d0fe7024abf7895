"""Which feedback counts for a request, until when, and what missing feedback means.

The attribution window is the time after a request in which its feedback counts; a request is judged
when its window has closed, in the order in which requests came. Without a window feedback counts as
it arrives, which is right only where every arm's feedback takes equally long.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from mlops.errors import InvalidInputError, did_you_mean

Repeated: TypeAlias = Literal["first", "last", "sum"]
#: `missing` if missing feedback is declared to be independent of the arm.
LEFT_OUT = "left-out"

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])")


@dataclass(frozen=True, slots=True)
class Attribution:
    """How outcomes are credited. Declared before looking; another one is another experiment.

    Attributes:
        window_s: Seconds after a request within which its feedback counts; 0 for no window.
        missing: Reward of a request whose window closed without feedback; `left-out` if such
            requests are no evidence about the arms; None if nothing was declared.
        failed: Reward of a request that the model failed or refused; None to treat it as one
            without feedback.
        repeated: What several outcomes of one row mean: the `first` counts, the `last` corrects
            those before it, or they `sum` up, which they then also do over a sticky unit.
        max_per_unit: Outcomes of one sticky unit, else of one request, that count; 0 for all.
        max_per_key: Outcomes that came with one API key that count; 0 for all.
        per_key_s: In how many seconds these may come; 0 for the whole experiment.
        outcome_ids: Whether an outcome of a row that may have several must have an id of its own,
            so that one that is sent again never counts again.
    """

    window_s: float = 0.0
    missing: float | str | None = None
    failed: float | None = None
    repeated: Repeated = "first"
    max_per_unit: int = 0
    max_per_key: int = 0
    per_key_s: float = 0.0
    outcome_ids: bool = False

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
        return self.promised == Attribution().promised

    @property
    def promised(self) -> dict[str, Any]:
        """The part that makes another experiment; as in older versions if there are no caps."""
        caps = ("max_per_unit", "max_per_key", "per_key_s")
        values = {name: value for name, value in asdict(self).items() if name != "outcome_ids"}
        return {name: value for name, value in values.items() if value or name not in caps}


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
    if min(attribution.max_per_unit, attribution.max_per_key, attribution.per_key_s) < 0:
        found.append("caps must be 0 or more")
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


def _seconds(name: str, value: str, span: str) -> float:
    """Read the duration in a setting's value, whose name an error has."""
    try:
        return read_duration(span)
    except InvalidInputError as error:
        raise InvalidInputError(f"`{name} = {value}`: {error.message}", hint=error.hint) from None


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


def read_cap(text: str) -> tuple[int, float]:
    """Read a cap: how many, and in how many seconds; 0 seconds where nothing is said of them.

    >>> read_cap("1000/1d"), read_cap("50"), read_cap("")
    ((1000, 86400.0), (50, 0.0), (0, 0.0))

    Raises:
        InvalidInputError: It is not a whole number, or no duration follows it.
    """
    count, slash, span = text.strip().partition("/")
    if not count and not slash:
        return 0, 0.0
    # A count without a time would be read as one for all time.
    if not count.strip().isdecimal() or (slash and not _seconds("max_per_key", text, span)):
        raise InvalidInputError(
            f"`max_per_key = {text}` is not a limit.", hint="Write a number and a time: `1000/1d`."
        )
    return int(count), read_duration(span)


def describe_cap(attribution: Attribution) -> str:
    """Write the cap per key as `read_cap` reads it.

    >>> describe_cap(Attribution(max_per_key=1000, per_key_s=3600.0))
    '1000/1h'
    """
    if not attribution.max_per_key:
        return ""
    span = write_duration(attribution.per_key_s)
    return f"{attribution.max_per_key}/{span}" if span else str(attribution.max_per_key)


def read_attribution(
    window: str,
    missing: str,
    failed: str,
    repeated: str,
    max_per_unit: str = "0",
    max_per_key: str = "",
    outcome_ids: str = "False",
) -> Attribution:
    """Read the rules as settings have them.

    Raises:
        InvalidInputError: One of them is malformed.
    """
    names = get_args(Repeated)
    if repeated not in names:
        hint = did_you_mean(repeated, names) or f"Use {', '.join(names)}."
        raise InvalidInputError(f"`repeated = {repeated}` is not known.", hint=hint)
    if not max_per_unit.isdecimal():
        raise InvalidInputError(f"`max_per_unit = {max_per_unit}` is not a whole number.")
    cap, per_s = read_cap(max_per_key)
    return Attribution(
        _seconds("window", window, window),
        read_missing(missing),
        _read_failed(failed),
        cast("Repeated", repeated),
        int(max_per_unit),
        cap,
        per_s,
        outcome_ids == "True",
    )


def _read_failed(text: str) -> float | None:
    """Read the reward of a request that was failed or refused; None for none."""
    if text in ("", "none"):
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(
            f"`failed = {text}` must be a number: the reward of a failure."
        ) from None


def describe(attribution: Attribution) -> str:
    """Describe the rules in a few words.

    >>> describe(Attribution(604800.0, 0.0))
    'window 1w, missing 0'
    """
    parts = [
        f"window {write_duration(attribution.window_s)}" if attribution.window_s else "",
        f"missing {write_number(attribution.missing)}" if attribution.missing is not None else "",
        f"failed {write_number(attribution.failed)}" if attribution.failed is not None else "",
        f"repeated {attribution.repeated}" if attribution.repeated != "first" else "",
        f"at most {attribution.max_per_unit} per unit" if attribution.max_per_unit else "",
        f"at most {describe_cap(attribution)} per key" if attribution.max_per_key else "",
        "with outcome ids" if attribution.outcome_ids else "",
    ]
    return ", ".join(filter(None, parts)) or "as it arrives"


def read_missing(text: str) -> float | str | None:
    """Read a rule for missing feedback: a number, `left-out`, or nothing.

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
