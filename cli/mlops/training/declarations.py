"""`[parameters.NAME]` of mlops.toml: what an MLproject cannot express.

    [parameters.depth]
    type = "int"          # string float int bool choice list path uri; by default MLproject's
    min = 1               # bounds of int and float, and of the items of a list
    max = 12
    optional = true       # no value leaves its option out of the command

A declaration refines a parameter of the same name in every entry point that has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops.errors import did_you_mean, one_of
from mlops.rewards.kinds import is_number
from mlops.training.parameter_types import (
    ITEM_KINDS,
    KINDS,
    LIST_STYLES,
    Parameter,
    expectation,
    fault_in,
)
from mlops.training.positions import Fault, LocatedFile, read_toml

_KEYS = ("type", "min", "max", "choices", "optional", "items", "style", "flag")
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "min": ("int", "float", "list"),
    "max": ("int", "float", "list"),
    "choices": ("choice",),
    "items": ("list",),
    "style": ("list",),
    "flag": ("bool",),
}
#: What MLproject may say where `mlops.toml` says more; otherwise both must agree.
_REFINES = {"string": KINDS, "float": ("float", "int", "choice")}


def read_declarations(folder: Path) -> LocatedFile | None:
    """Return the `parameters` table of a project folder's settings file, if there is one.

    Raises:
        InvalidInputError: The file is not TOML.
    """
    for name, below in (("mlops.toml", ()), ("pyproject.toml", ("tool", "mlops"))):
        if (folder / name).is_file():
            marked = read_toml(folder / name, (*below, "parameters"))
            if marked.content or name == "mlops.toml":
                return marked
    return None


def declared_names(declared: LocatedFile | None, known: Mapping[str, object]) -> list[Fault]:
    """Return the faults of declarations that no entry point has a parameter for."""
    if declared is None:
        return []
    if not isinstance(declared.content, dict):
        return [declared.fault("`parameters` must be a table of tables, one per parameter")]
    faults = []
    for name in declared.content:
        if name not in known:
            hint = did_you_mean(name, known) or "Add it to the MLproject, or remove it here."
            faults.append(
                declared.fault(f"no entry point has a parameter `{name}`", name, hint=hint)
            )
    return faults


def refine(parameter: Parameter, declared: LocatedFile | None, faults: list[Fault]) -> Parameter:
    """Return a parameter with what is declared about it, and its own default checked.

    Args:
        parameter: As MLproject has it.
        declared: Every declaration.
        faults: Receives faults.
    """
    content = declared.content if declared is not None else {}
    raw = content.get(parameter.name) if isinstance(content, dict) else None
    if declared is None or raw is None:
        return parameter
    if not isinstance(raw, dict):
        faults.append(
            declared.fault(
                f"`{parameter.name}` must be a table",
                parameter.name,
                expected=f'for example `[parameters.{parameter.name}]` with `type = "int"`',
            )
        )
        return parameter
    return _Reader(declared, parameter.name, raw, faults).refined(parameter)


def default_fault(parameter: Parameter) -> str | None:
    """Say what is wrong with a default; a path's need not exist yet."""
    text = parameter.default_text
    if text is None or parameter.type == "path":
        return None
    fault = fault_in(parameter, text)
    return f"the default of parameter {fault}" if fault else None


class _Reader:
    """Reads one declaration; a wrong value is reported and treated as missing."""

    def __init__(
        self, declared: LocatedFile, name: str, raw: Mapping[str, Any], faults: list[Fault]
    ) -> None:
        self._declared = declared
        self._name = name
        self._raw = raw
        self._faults = faults

    def refined(self, parameter: Parameter) -> Parameter:
        raw = self._raw
        self._faults += [
            self._declared.unknown("key", _KEYS, self._name, key) for key in raw if key not in _KEYS
        ]
        kind = self._kind(parameter)
        for key, kinds in _ONLY_FOR.items():
            if key in raw and kind not in kinds:
                self._wrong(key, f"has no meaning for type `{kind}`, only for {one_of(kinds)}")
        refined = replace(
            parameter,
            type=kind,
            optional=self._read("optional", _is_bool, "true or false", default=False),
            minimum=self._read("min", is_number, "a number"),
            maximum=self._read("max", is_number, "a number"),
            choices=self._choices(kind),
            items=self._read("items", _among(ITEM_KINDS), one_of(ITEM_KINDS), default="string"),
            style=self._read("style", _among(LIST_STYLES), one_of(LIST_STYLES), default="joined"),
            flag=self._flag(kind),
        )
        self._check_bounds(refined)
        return refined

    def _kind(self, parameter: Parameter) -> str:
        usual = "choice" if "choices" in self._raw else parameter.type
        kind = str(self._read("type", _among(KINDS), one_of(KINDS), default=usual))
        if kind not in _REFINES.get(parameter.type, (parameter.type,)):
            self._wrong("type", f"is `{kind}`, but the MLproject says `{parameter.type}`")
        return kind

    def _choices(self, kind: str) -> tuple[str, ...]:
        if kind != "choice":
            return ()
        given = self._raw.get("choices")
        if not isinstance(given, list) or not given or any(_is_nested(c) for c in given):
            self._wrong("choices", "must be a list of values, for example `[1, 2]`")
            return ()
        return tuple(str(c).lower() if isinstance(c, bool) else str(c) for c in given)

    def _flag(self, kind: str) -> str | None:
        if kind != "bool":
            return None
        given = self._raw.get("flag", "")
        if given is False:
            return None
        if not isinstance(given, str) or (given and not given.startswith("-")):
            self._wrong(
                "flag", 'must be an option as "--fast" or "--fast/--no-fast", or false', given
            )
            return ""
        return given

    def _check_bounds(self, parameter: Parameter) -> None:
        low, high = parameter.minimum, parameter.maximum
        if low is not None and high is not None and low > high:
            self._wrong("max", f"must not be below `min`, {low:g}", high)

    def _read(
        self,
        key: str,
        good: Callable[[Any], bool],
        expected: str,
        *,
        default: object = None,
    ) -> Any:  # noqa: ANN401 - a TOML value
        if key not in self._raw:
            return default
        value = self._raw[key]
        if good(value):
            return value
        closest = did_you_mean(value, KINDS) if isinstance(value, str) else None
        self._faults.append(
            self._declared.fault(
                f"`{key}` of parameter `{self._name}` must be {expected}, not `{value}`",
                self._name,
                key,
                expected=expected,
                hint=closest,
            )
        )
        return default

    def _wrong(self, key: str, what: str, value: object = None) -> None:
        shown = "" if value is None else f", not `{value}`"
        self._faults.append(
            self._declared.fault(
                f"`{key}` of parameter `{self._name}` {what}{shown}", self._name, key
            )
        )


def words_of(parameter: Parameter) -> str:
    """Say what a parameter accepts, for readers of a project."""
    return expectation(parameter) or ("text" if parameter.type == "string" else parameter.type)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_nested(value: object) -> bool:
    return isinstance(value, list | dict)


def _among(known: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in known
