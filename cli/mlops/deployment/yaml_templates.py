"""Manifests from templates: data goes in quoted, or not at all.

Every `{{ value }}` of a template becomes one YAML scalar on one line, quoted if it is text. A
template cannot forget it, so no name, label or URI can add a line or a key to a manifest, not
even from within a comment.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import yaml
from jinja2 import FileSystemLoader, StrictUndefined, Undefined
from jinja2.sandbox import SandboxedEnvironment

from mlops.resources import shipped


class _Block(str):
    """Text that is a YAML block scalar already."""


def yaml_scalar(value: object) -> object:
    r"""Write one value such that YAML reads exactly it, in ASCII and on one line.

    >>> yaml_scalar('a: "b"\n# c'), yaml_scalar("no"), yaml_scalar(True), yaml_scalar(3)
    ('"a: \\"b\\"\\n# c"', '"no"', 'true', '3')
    """
    if isinstance(value, Undefined | _Block):
        return value  # Undefined's own message names the variable
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str):
        text: str = yaml.safe_dump(value, default_style='"', width=math.inf)
        return text.rstrip("\n")
    raise TypeError(f"A manifest cannot hold {value!r}.")


def json_block(value: object, indent: int, most: int = 0) -> str:
    """Write JSON data as a literal block scalar, readable unless that is too long.

    JSON in ASCII has no line break, tab or control character within a string, so nothing in it can
    end the block.

    Args:
        value: JSON data.
        indent: Columns before each line.
        most: Characters above which it is written without spaces; 0 for no limit.
    """
    text = json.dumps(value, indent=2, ensure_ascii=True)
    if most and len(text) > most:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    lines = text.splitlines()
    return _Block("|\n" + "\n".join(" " * indent + line for line in lines))


def text_block(text: str, indent: int) -> str:
    """Write lines of ASCII as a literal block scalar.

    Args:
        text: The lines.
        indent: Columns before each line.
    """
    return _Block("|-\n" + _indented(text.splitlines(), text, indent))


def folded_block(text: str, indent: int) -> str:
    """Write one paragraph of ASCII as a folded block scalar, in lines of some 100 columns.

    Args:
        text: The paragraph, words parted by single spaces.
        indent: Columns before each line.
    """
    lines = textwrap.wrap(text, 100 - indent, break_long_words=False, break_on_hyphens=False)
    return _Block(">-\n" + _indented(lines, text, indent))


def _indented(lines: list[str], text: str, indent: int) -> str:
    # What begins with a space would end a folded line, or set another indentation.
    plain = text.replace("\n", "").isprintable() and text.isascii() and not text.startswith(" ")
    if not plain or "" in lines:
        raise TypeError(f"A block of a manifest cannot hold {text!r}.")
    return "\n".join(" " * indent + line for line in lines)


def comment(text: str) -> str:
    """Write ASCII of one line into a comment as it is."""
    if not text.isprintable() or not text.isascii():
        raise TypeError(f"A comment of a manifest cannot hold {text!r}.")
    return _Block(text)


def render_template(
    name: str,
    values: Mapping[str, Any],
    finalize: Callable[[object], object] = yaml_scalar,
) -> str:
    """Fill a template.

    Args:
        name: Path below `templates/`, without `.j2`.
        values: What the template may name; records are read through their attributes.
        finalize: Writes a value; the default is for YAML.

    Raises:
        jinja2.UndefinedError: The template names something that is not there.
        TypeError: The template writes something that has no form in a manifest.
    """
    return _environment(finalize).get_template(f"{name}.j2").render(values)


@lru_cache(maxsize=2)
def _environment(finalize: Callable[[object], object]) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(shipped("templates")),
        undefined=StrictUndefined,
        finalize=finalize,
        autoescape=False,  # HTML's escapes have no meaning in YAML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["comment"] = comment
    environment.filters["json_block"] = json_block
    environment.filters["text_block"] = text_block
    environment.filters["folded_block"] = folded_block
    return environment
