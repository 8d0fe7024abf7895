"""The types of parameters: what each accepts, in words and as a check.

MLflow knows `string`, `float`, `path` and `uri`; `int`, `bool`, `choice` and `list` are added here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops.errors import did_you_mean, one_of

#: How the items of a list are put in the command: `64,32`, `64 32`, or the option once per item.
ListStyle = Literal["joined", "words", "repeated"]

#: Types that `mlops.toml` may name.
KINDS = ("string", "float", "int", "bool", "choice", "list", "path", "uri")
#: Types of the items of a list.
ITEM_KINDS = ("string", "float", "int")
LIST_STYLES: tuple[ListStyle, ...] = ("joined", "words", "repeated")

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/\S+")
_WORDS: Mapping[str, str] = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "uri": "a URI",
    "path": "an existing path or a URI",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an entry point.

    Attributes:
        name: Its name.
        type: One of `KINDS`, or another word, which MLflow and mlops leave unchecked.
        default: Its value if none is given; None makes it required, unless it is optional.
        optional: Whether it may have no value at all; its option is then left out of the command.
        minimum: Least value of a number, or of each item of a list.
        maximum: Greatest value of a number, or of each item of a list.
        choices: All values of a choice.
        items: Type of a list's items.
        style: How a list is written in the command.
        flag: What a bool puts into the command: `--fast`, `--fast/--no-fast`, empty for an option
            of the parameter's own name, None for the text `true` or `false`.
    """

    name: str
    type: str = "string"
    default: str | int | float | bool | None = None
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    items: str = "string"
    style: ListStyle = "joined"
    flag: str | None = None

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is None and not self.optional

    @property
    def sweepable(self) -> bool:
        """Whether commas separate several values of it."""
        return self.type in ("float", "int", "bool", "choice")

    @property
    def default_text(self) -> str | None:
        """The default as a command line would have it."""
        if isinstance(self.default, bool) and self.type == "bool":
            return str(self.default).lower()
        return None if self.default is None else str(self.default)


def expectation(parameter: Parameter) -> str:
    """Say in words what a parameter accepts; empty for anything.

    >>> expectation(Parameter("depth", "int", minimum=1, maximum=9))
    'a whole number from 1 to 9'
    >>> expectation(Parameter("net", "choice", choices=("a", "b")))
    'one of `a` or `b`'
    """
    if parameter.type == "choice":
        return (
            f"one of {one_of(parameter.choices)}"
            if len(parameter.choices) > 1
            else (one_of(parameter.choices))
        )
    if parameter.type == "list":
        inner = {"string": "", "float": " of numbers", "int": " of whole numbers"}[parameter.items]
        return f"a list{inner}{_bounds(parameter)}, with commas between its items"
    return _WORDS.get(parameter.type, "") + _bounds(parameter)


def fault_in(parameter: Parameter, value: str) -> str | None:
    """Say what is wrong with a value, None if nothing is.

    >>> fault_in(Parameter("alpha", "float", minimum=0), "-1")
    '`alpha` must be a number of at least 0, not `-1`'
    """
    if accepts(parameter, value):
        return None
    fault = f"`{parameter.name}` must be {expectation(parameter)}, not `{value}`"
    closest = did_you_mean(value, parameter.choices) if parameter.type == "choice" else None
    return f"{fault}. {closest}" if closest else fault


def accepts(parameter: Parameter, value: str) -> bool:
    """Whether a value is of the parameter's type and within its bounds."""
    if parameter.optional and not value:
        return True
    match parameter.type:
        case "choice":
            return not parameter.choices or value in parameter.choices
        case "list":
            return all(_scalar(parameter, parameter.items, item) for item in list_items(value))
        case kind:
            return _scalar(parameter, kind, value)


def list_items(value: str) -> list[str]:
    """Return the items of a list; an empty text is an empty list."""
    return [item.strip() for item in value.split(",")] if value.strip() else []


def is_true(value: str) -> bool:
    """Whether a bool's text means true."""
    return value.lower() == "true"


def _scalar(parameter: Parameter, kind: str, value: str) -> bool:
    match kind:
        case "float" | "int":
            return _in_bounds(parameter, value) and (kind == "float" or _is_whole(value))
        case "bool":
            return value.lower() in ("true", "false")
        case "uri":
            return _is_uri(value)
        case "path":
            # MLflow downloads a URI and passes the path of the copy.
            return _is_uri(value) or Path(value).exists()
        case _:
            return True


def _in_bounds(parameter: Parameter, value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    low = -math.inf if parameter.minimum is None else parameter.minimum
    high = math.inf if parameter.maximum is None else parameter.maximum
    unbounded = parameter.minimum is None and parameter.maximum is None
    return low <= number <= high or (unbounded and math.isnan(number))


def _is_whole(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", value) is not None


def _is_uri(value: str) -> bool:
    return _URI.fullmatch(value) is not None


def _bounds(parameter: Parameter) -> str:
    low, high = parameter.minimum, parameter.maximum
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {low:g}"
    return f" of at most {high:g}" if low is None else f" from {low:g} to {high:g}"
