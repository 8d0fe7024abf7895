"""Manifests from templates: data goes in quoted, or not at all.

Every `{{ value }}` of a template becomes one YAML scalar on one line, quoted if it is text. A
template cannot forget it, so no name, label or URI can add a line or a key to a manifest, not
even from within a comment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import yaml
from jinja2 import FileSystemLoader, StrictUndefined, Undefined
from jinja2.sandbox import SandboxedEnvironment

from mlops.resources import shipped


def render_template(name: str, values: Mapping[str, object]) -> str:
    """Fill a manifest's template.

    Args:
        name: Path below `templates/`, without `.j2`.
        values: What the template may name; records are read through their attributes.

    Raises:
        jinja2.UndefinedError: The template names something that is not there.
        TypeError: The template writes something that is neither text nor a number nor a bool.
    """
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(shipped("templates")),
        undefined=StrictUndefined,
        finalize=yaml_scalar,
        autoescape=False,  # HTML's escapes mean nothing in YAML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.j2").render(values)


def yaml_scalar(value: object) -> object:
    r"""Write one value such that YAML reads exactly it, in ASCII and on one line.

    >>> yaml_scalar('a: "b"\n# c'), yaml_scalar("no"), yaml_scalar(True), yaml_scalar(3)
    ('"a: \\"b\\"\\n# c"', '"no"', 'true', '3')
    """
    if isinstance(value, Undefined):
        return value  # whose own complaint names the variable
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str):
        text: str = yaml.safe_dump(value, default_style='"', width=math.inf)
        return text.rstrip("\n")
    raise TypeError(f"A manifest cannot hold {value!r}.")
