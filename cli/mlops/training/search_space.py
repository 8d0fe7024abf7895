"""Several values of one parameter, as a command line writes them.

0.1,0.5,1.0           these, for a number, a bool or a choice
lin:0..1:5            five from 0 to 1, equally far apart
log:0.001..10:8       eight, each the same factor above the one before
log:0.001..10         any number between, for a sampler
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops.training.parameter_types import Parameter, accepts, fault_in

#: More trials than this are a mistake.
MOST_TRIALS = 10_000

_RANGE = re.compile(r"(lin|log):(.+?)\.\.(.+?)(?::([^:]*))?", re.DOTALL)
_EXAMPLE = "`lin:0..1:5`, `log:0.001..10:8`, or without a count for a sampler"


@dataclass(frozen=True, slots=True)
class Axis:
    """The values that a sweep may give to one parameter.

    Attributes:
        name: The parameter.
        values: All of them; empty for a range without a count.
        low: Least value of such a range.
        high: Greatest value of such a range.
        log: Whether such a range is searched by factors.
        whole: Whether only whole numbers of it count.
    """

    name: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        if self.values:
            return ",".join(self.values)
        return f"{'log' if self.log else 'lin'}:{number_text(self.low)}..{number_text(self.high)}"


def axis_of(parameter: Parameter, text: str) -> Axis | None:
    """Return the axis that the value of a `-P` describes, None if it is a single value.

    Args:
        parameter: Its declaration; only numbers, bools and choices have several values.
        text: What was given.

    Raises:
        ValueError: It is meant to be several values and is wrong.
    """
    if parameter.type in ("float", "int") and text.startswith(("lin:", "log:")):
        return _range(parameter, text)
    if not parameter.sweepable or "," not in text or accepts(parameter, text):
        return None
    return listed(parameter, [word.strip() for word in text.split(",")])


def grid_of(parameter: Parameter, text: str) -> Axis:
    """Return the axis of a `--grid`, whatever the type; a value with a comma is put in quotes.

    Raises:
        ValueError: A value is wrong.
    """
    if parameter.type in ("float", "int") and text.startswith(("lin:", "log:")):
        return _range(parameter, text)
    return listed(parameter, next(csv.reader([text], skipinitialspace=True), []))


def listed(parameter: Parameter, values: Sequence[str]) -> Axis:
    """Return the axis of some values, each of them once.

    Raises:
        ValueError: One of them is wrong, or there is none.
    """
    faults = [fault for value in values if (fault := fault_in(parameter, value))]
    if faults or not values:
        raise ValueError("\n".join(faults) or f"`{parameter.name}` has no value")
    return Axis(parameter.name, tuple(dict.fromkeys(values)))


def combinations(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Return every combination of the axes' values, the last axis running fastest.

    >>> combinations([Axis("a", ("1", "2")), Axis("b", ("x",))])
    [{'a': '1', 'b': 'x'}, {'a': '2', 'b': 'x'}]
    """
    names = [axis.name for axis in axes]
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def grid_faults(axes: Mapping[str, Axis]) -> list[str]:
    """Say why some axes are not a grid."""
    faults = [
        f"`{name}={axis}` needs a count in a grid, for example `{name}={axis}:5`; "
        "`--sweep random` and `--sweep tpe` go without"
        for name, axis in axes.items()
        if not axis.values
    ]
    count = math.prod(len(axis.values) or 1 for axis in axes.values())
    if count > MOST_TRIALS:
        faults.append(f"this grid has {count:,} trials, more than {MOST_TRIALS:,}")
    return faults


def number_text(number: float) -> str:
    """Write a number with at most 12 digits, so that 0.1 + 0.2 is 0.3.

    >>> number_text(0.1 + 0.2), number_text(5.0), number_text(1e-7)
    ('0.3', '5', '1e-07')
    """
    return f"{number:.12g}"


def _range(parameter: Parameter, text: str) -> Axis:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"`{parameter.name}={text}` is not a range as {_EXAMPLE}")
    log, ends = found[1] == "log", (found[2].strip(), found[3].strip())
    faults = [fault for end in ends if (fault := fault_in(parameter, end))]
    if faults:
        raise ValueError("\n".join(faults))
    low, high = map(float, ends)
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(f"`{parameter.name}={text}` must grow from one number to a greater one")
    if log and low <= 0:
        raise ValueError(f"`{parameter.name}={text}` must start above 0, being logarithmic")
    whole = parameter.type == "int"
    if found[4] is None:
        return Axis(parameter.name, (), low, high, log, whole)
    return Axis(parameter.name, _spread(parameter.name, text, ends, found[4], log, whole))


def _spread(
    name: str, text: str, ends: tuple[str, str], count: str, log: bool, whole: bool
) -> tuple[str, ...]:
    if not re.fullmatch(r"[0-9]{1,5}", count) or not 2 <= int(count) <= MOST_TRIALS:
        raise ValueError(f"`{name}={text}` needs a count from 2 to {MOST_TRIALS}, not `{count}`")
    steps = int(count) - 1
    low, high = map(float, ends)
    inner = [_between(low, high, step / steps, log) for step in range(1, steps)]
    words = [str(round(number)) if whole else number_text(number) for number in inner]
    return tuple(dict.fromkeys((ends[0], *words, ends[1])))


def _between(low: float, high: float, share: float, log: bool) -> float:
    if log:
        return math.exp(math.log(low) * (1 - share) + math.log(high) * share)
    return low * (1 - share) + high * share
