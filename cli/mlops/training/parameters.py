"""The `-P` and `--grid` of a command line, checked against what the entry point declares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError, NotFoundError, did_you_mean
from mlops.training.parameter_types import Parameter, fault_in
from mlops.training.positions import read_yaml
from mlops.training.project import EntryPoint
from mlops.training.search_space import Axis, axis_of, grid_of, listed


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an entry point shall run with.

    Attributes:
        given: One value each, by name, without the defaults.
        axes: Several values each; not empty means a sweep.
        notes: What the user may have meant otherwise.
    """

    given: Mapping[str, str]
    axes: Mapping[str, Axis] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def assign(
    entry_point: EntryPoint,
    words: Sequence[str],
    grid: Sequence[str] = (),
    usual: Mapping[str, str] | None = None,
) -> Assignment:
    """Return what the words of a command line mean.

    Args:
        entry_point: Declares names, types and defaults.
        words: What followed each `-P`: name=value, or @ and a YAML or JSON file, over which
            name=value wins.
        grid: What followed each `--grid`: name=value,value.
        usual: Values that everything else wins over.

    Raises:
        InvalidInputError: One or more are malformed, repeated, unknown, missing or of the wrong
            type; all are named in one message.
        NotFoundError: There is no such file.
    """
    reader = _Reader(entry_point)
    reader.files([word[1:] for word in words if word.startswith("@")])
    reader.words([word for word in words if not word.startswith("@")], grid)
    for name, value in (usual or {}).items():
        if name not in reader.axes:
            reader.given.setdefault(name, value)
    faults = reader.all_faults()
    if faults:
        raise InvalidInputError("\n".join(faults), hint=_usage(entry_point))
    return Assignment(reader.given, reader.axes, tuple(reader.notes.values()))


class _Reader:
    """Sorts words into single values and axes.

    Attributes:
        given: Single values.
        axes: Several values.
        notes: About single values that look like several, by name.
    """

    def __init__(self, entry_point: EntryPoint) -> None:
        self._point = entry_point
        self._faults: list[str] = []
        self._mentioned: set[str] = set()
        self.given: dict[str, str] = {}
        self.axes: dict[str, Axis] = {}
        self.notes: dict[str, str] = {}

    def files(self, names: Sequence[str]) -> None:
        for name in names:
            for key, value in _read_file(Path(name)).items():
                self._forget(key)
                self._take_from_file(name, key, value)

    def words(self, words: Sequence[str], grid: Sequence[str]) -> None:
        seen: set[str] = set()
        for text, several in [*((w, False) for w in words), *((w, True) for w in grid)]:
            name, equals, value = text.partition("=")
            if not equals or not name:
                self._faults.append(f"`{text}` is not of the form name=value")
                continue
            if name in seen:
                self._faults.append(f"`{name}` is given twice")
            elif self._known(name):
                self._forget(name)
                self._take(name, value, several=several)
                self._note_list(name, value)
            seen.add(name)

    def all_faults(self) -> list[str]:
        faults = list(self._faults)
        for name, parameter in self._point.parameters.items():
            if name in self.given:
                fault = fault_in(parameter, self.given[name])
                faults += [fault] if fault else []
            elif parameter.required and name not in self._mentioned:
                faults.append(f"`{name}` ({parameter.type}) is missing")
        return faults

    def _take(self, name: str, value: str, *, several: bool) -> None:
        parameter = self._point.parameters.get(name, Parameter(name))
        try:
            axis = grid_of(parameter, value) if several else axis_of(parameter, value)
        except ValueError as error:
            self._faults.append(str(error))
            return
        if axis is None:
            self.given[name] = value.lower() if parameter.type == "bool" else value
        else:
            self.axes[name] = axis

    def _note_list(self, name: str, value: str) -> None:
        """Say so where a text with commas may have been meant as several values."""
        parameter = self._point.parameters.get(name, Parameter(name))
        looks_so = re.fullmatch(r"[^\s,{}\[\]()]+(,[^\s,{}\[\]()]+)+", value)
        if self.given.get(name) == value and parameter.type == "string" and looks_so:
            self.notes[name] = (
                f"`{name}={value}` is one value: a comma makes no sweep for a parameter of type "
                f"string; `--grid {name}={value}` does"
            )

    def _take_from_file(self, file: str, name: str, value: object) -> None:
        if not self._known(name):
            return
        parameter = self._point.parameters.get(name, Parameter(name))
        if isinstance(value, list) and not any(isinstance(v, list | dict) for v in value):
            words = [_as_word(item) for item in value]
            if parameter.type == "list":
                self.given[name] = ",".join(words)
                return
            try:
                self.axes[name] = listed(parameter, words)
            except ValueError as error:
                self._faults.append(f"{file}: {error}")
        elif isinstance(value, list | dict):
            self._faults.append(f"{file}: `{name}` must be a value or a list of values")
        else:
            self._take(name, _as_word(value), several=False)

    def _known(self, name: str) -> bool:
        if self._point.any_parameter or name in self._point.parameters:
            return True
        closest = did_you_mean(name, self._point.parameters)
        self._faults.append(f"`{name}` is not a parameter" + (f". {closest}" if closest else ""))
        return False

    def _forget(self, name: str) -> None:
        self._mentioned.add(name)
        self.given.pop(name, None)
        self.axes.pop(name, None)
        self.notes.pop(name, None)


def _read_file(file: Path) -> dict[str, Any]:
    if not file.expanduser().is_file():
        raise NotFoundError(
            f"There is no file `{file}` of parameters.", hint="`-P @params.yaml` reads one."
        )
    # JSON is YAML as well.
    content = read_yaml(file.expanduser()).content
    if content is not None and not isinstance(content, dict):
        raise InvalidInputError(f"`{file}` must be a mapping of names to values.")
    return {str(name): value for name, value in (content or {}).items()}


def _as_word(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _usage(entry_point: EntryPoint) -> str:
    """Say what the entry point takes, ready to be copied."""
    words = []
    for name, parameter in entry_point.parameters.items():
        choices = "|".join(parameter.choices)
        text = f"-P {name}={choices or parameter.type.upper()}"
        words.append(text if parameter.required else f"[{text}]")
    entry = "" if entry_point.name == "main" else f" -e {entry_point.name}"
    return f"mlops train{entry} {' '.join(words)}".rstrip()
