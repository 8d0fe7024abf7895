"""YAML and TOML files that know the line of each key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops.errors import InvalidInputError, did_you_mean, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yaml.nodes import Node

Keys = tuple[str, ...]

_TABLE = re.compile(r"^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault or warning about a file.

    Attributes:
        file: Where.
        line: In which line, from 1; 0 if it is not known.
        message: What is wrong, with the offending value.
        expected: What is allowed there; may be empty.
        hint: A sentence that offers the closest known name; may be empty.
        severity: A warning is something that runs, though hardly as it is meant.
    """

    file: Path
    line: int
    message: str
    expected: str = ""
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        expected = f"; expected {self.expected}" if self.expected and not self.hint else ""
        return f"{place}: {self.message}{expected}" + (f". {self.hint}" if self.hint else "")


@dataclass(frozen=True, slots=True)
class LocatedFile:
    """A file's content, with positions.

    Attributes:
        file: The file.
        content: The parsed data.
        lines: Path of keys to line.
        repeated: Keys that are there twice, as YAML lets the last one win silently.
    """

    file: Path
    content: Any
    lines: Mapping[Keys, int] = field(default_factory=dict)
    repeated: tuple[Keys, ...] = ()

    def line(self, *keys: str) -> int:
        """Return the line of a key, or of the closest key around it; 0 if there is none."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.lines:
                return self.lines[keys[:length]]
        return self.lines.get((), 1 if self.lines else 0)

    def fault(self, message: str, *keys: str, expected: str = "", hint: str | None = "") -> Fault:
        """Return an error at the line of a key."""
        return Fault(self.file, self.line(*keys), message, expected, hint or "")

    def warning(self, message: str, *keys: str, hint: str | None = "") -> Fault:
        """Return a warning at the line of a key."""
        return Fault(self.file, self.line(*keys), message, "", hint or "", "warning")

    def unknown(self, what: str, known: Iterable[str], *keys: str) -> Fault:
        """Return an error about an unknown key."""
        known = list(known)
        return self.fault(
            f"unknown {what} `{keys[-1]}`",
            *keys,
            expected=one_of(known),
            hint=did_you_mean(keys[-1], known),
        )


def read_yaml(file: Path) -> LocatedFile:
    """Read a YAML file.

    Raises:
        InvalidInputError: It is not YAML.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except RecursionError:
        raise InvalidInputError(f"`{file}` is nested too deep.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"`{file}` is not valid YAML: {error}") from error
    found = list(_keys_of(node, ())) if node is not None else []
    lines: dict[Keys, int] = {}
    repeated = []
    for keys, line in found:
        if keys in lines:
            repeated.append(keys)
        lines[keys] = line
    return LocatedFile(file, content, lines, tuple(repeated))


def read_toml(file: Path, below: Keys = ()) -> LocatedFile:
    """Read a TOML file, or the table of it that `below` names.

    Raises:
        InvalidInputError: It is not TOML.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"`{file}` is not valid TOML: {error}.") from error
    for key in below:
        content = content.get(key, {}) if isinstance(content, dict) else {}
    lines = {
        keys[len(below) :]: line for keys, line in _toml_keys(text) if keys[: len(below)] == below
    }
    return LocatedFile(file, content, lines)


def _keys_of(node: Node, around: Keys) -> Iterator[tuple[Keys, int]]:
    from yaml.nodes import MappingNode, ScalarNode

    if not isinstance(node, MappingNode):
        return
    for key, value in node.value:
        if isinstance(key, ScalarNode):
            keys = (*around, str(key.value))
            yield keys, key.start_mark.line + 1
            yield from _keys_of(value, keys)


def _toml_keys(text: str) -> Iterator[tuple[Keys, int]]:
    """Yield the keys of a valid TOML file; those of inline tables are not looked for."""
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = _parts(header[1])
            yield table, number
        elif key := _KEY.match(line):
            yield (*table, *_parts(key[1])), number


def _parts(dotted: str) -> Keys:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
