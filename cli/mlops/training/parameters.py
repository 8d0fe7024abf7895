"""The `-P name=value` of a command line, checked against what the entry point declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlops.errors import InvalidInputError, did_you_mean
from mlops.training.project import EntryPoint

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/\S+")


def check_parameters(entry_point: EntryPoint, words: Sequence[str]) -> dict[str, str]:
    """Return the given parameters by name, without the defaults.

    Args:
        entry_point: Declares names, types and defaults.
        words: What followed each `-P`.

    Raises:
        InvalidInputError: One or more are malformed, repeated, unknown, missing or of the wrong
            type; all are named in one message.
    """
    given, faults = _split(words)
    declared = entry_point.parameters
    if not entry_point.any_parameter:
        faults += [_unknown(name, declared) for name in given if name not in declared]
    for name, parameter in declared.items():
        if name in given:
            faults += _wrong(name, parameter.type, given[name])
        elif parameter.default is None:
            faults.append(f"`{name}` ({parameter.type}) is missing")
    if faults:
        raise InvalidInputError("\n".join(faults), hint=_usage(entry_point))
    return given


def all_values(entry_point: EntryPoint, given: Mapping[str, str]) -> dict[str, str]:
    """Return every parameter of a run: the given ones and the defaults of the others."""
    defaults = {
        name: str(parameter.default)
        for name, parameter in entry_point.parameters.items()
        if parameter.default is not None
    }
    return defaults | dict(given)


def _split(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    faults = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            faults.append(f"`{word}` is not of the form name=value")
        elif name in given:
            faults.append(f"`{name}` is given twice")
        else:
            given[name] = value
    return given, faults


def _unknown(name: str, declared: Mapping[str, object]) -> str:
    closest = did_you_mean(name, declared)
    return f"`{name}` is not a parameter" + (f". {closest}" if closest else "")


def _wrong(name: str, kind: str, value: str) -> list[str]:
    check, wanted = _CHECKS.get(kind, (None, ""))
    return [] if check is None or check(value) else [f"`{name}` must be {wanted}, not `{value}`"]


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_whole(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", value) is not None


def _is_truth(value: str) -> bool:
    return value.lower() in ("true", "false")


def _is_uri(value: str) -> bool:
    return _URI.fullmatch(value) is not None


def _is_path(value: str) -> bool:
    # MLflow downloads a URI and passes the path of the copy.
    return _is_uri(value) or Path(value).exists()


#: Type of an MLproject parameter to its check and its words. MLflow knows string, float, path and
#: uri; int and bool are common in the wild. Any other word is left unchecked, as MLflow does.
_CHECKS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "float": (_is_number, "a number"),
    "int": (_is_whole, "a whole number"),
    "bool": (_is_truth, "true or false"),
    "uri": (_is_uri, "a URI"),
    "path": (_is_path, "an existing path or a URI"),
}


def _usage(entry_point: EntryPoint) -> str:
    """Say what the entry point takes, ready to be copied."""
    words = []
    for name, parameter in entry_point.parameters.items():
        text = f"-P {name}={parameter.type.upper()}"
        words.append(text if parameter.default is None else f"[{text}]")
    entry = "" if entry_point.name == "main" else f" -e {entry_point.name}"
    return f"mlops train{entry} {' '.join(words)}".rstrip()
