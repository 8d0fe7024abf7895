"""The parts of the reference that are made from the program itself.

`python -m tests.docs.site` writes them into `build/reference`, from where the pages of
`docs/reference` include them.
"""

from __future__ import annotations

import html
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import typer

from mlops.commands.app import program
from mlops.errors import MlopsError
from mlops.settings.schema import SECTIONS
from mlops.spec.metrics import FAMILIES

ROOT = Path(__file__).parents[2]
_MARKUP = re.compile(r"\\(?=\[)")


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command that can be run, with its words after `mlops`."""

    def below(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if command.hidden:
                continue
            if hasattr(command, "commands"):
                yield from below(command, (*words, name))
            else:
                yield " ".join((*words, name)), command

    return below(typer.main.get_command(program()), ())


def command_line() -> str:
    """Return every command with its arguments and options."""
    parts = []
    for words, command in commands():
        context = typer.Context(command, info_name=f"mlops {words}")
        usage = " ".join(["mlops", words, *command.collect_usage_pieces(context)])
        parts += [f"## mlops {words}", "", _prose(command.help), "", f"    {usage}", ""]
        parts += _options(command)
    return "\n".join(parts)


def _options(command: Any) -> list[str]:
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        panel = getattr(parameter, "rich_help_panel", None) or (
            "Arguments" if parameter.param_type_name == "argument" else "Options"
        )
        panels.setdefault(panel, []).append(_row(parameter))
    lines = []
    for panel, rows in panels.items():
        lines += [f"| {panel} | |", "|---|---|", *rows, ""]
    return lines


def _row(parameter: Any) -> str:
    value = parameter.metavar or ""
    if parameter.param_type_name == "argument":
        name = f"`{value or parameter.name.upper()}`"
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
        name = ", ".join(f"`{each}`" for each in names)
        # A vertical line in a table cannot be quoted within backticks.
        name += f" <code>{html.escape(value).replace('|', '&#124;')}</code>" if value else ""
    text = _prose(parameter.help)
    default = parameter.default
    if parameter.show_default is True and isinstance(default, str | int | float) and default:
        text += "" if isinstance(default, bool) else f" [default: {default}]"
    return f"| {name} | {_cell(text)} |"


def _prose(text: str | None) -> str:
    return _MARKUP.sub("", text or "").strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")


def settings() -> str:
    """Return every setting by section: key, default, what it means, variables of other tools."""
    parts = []
    for section, record in SECTIONS.items():
        parts += [f"## [{section}]", "", _first_line(record), ""]
        parts += ["| key | default | meaning |", "|---|---|---|"]
        for item in fields(record):
            foreign = [f"`{name.rpartition(':')[2]}`" for name in item.metadata["env"]]
            meaning = _cell(item.metadata["doc"]) + (
                f"; also {', '.join(foreign)}" if foreign else ""
            )
            parts.append(f"| `{item.name}` | `{_default(item)}` | {meaning} |")
        parts.append("")
    return "\n".join(parts)


def _default(item: Field[Any]) -> str:
    """Write a default as TOML does."""
    value = item.default
    if item.default_factory is not MISSING:
        value = item.default_factory()
    if value is None:
        return "unset"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]


def errors() -> str:
    """Return every kind of error."""
    kinds: list[type[MlopsError]] = [MlopsError, *MlopsError.__subclasses__()]
    rows = ["| exit code | `code` in JSON | class | meaning |", "|---|---|---|---|"]
    rows += [
        f"| {kind.exit_code} | `{kind.code}` | `{kind.__name__}` | {_first_line(kind)} |"
        for kind in kinds
    ]
    return "\n".join(rows) + "\n"


def metrics() -> str:
    """Return every metric family of `/metrics`."""
    rows = ["| series | type | labels | what |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        unit = f" In {family.unit}." if family.unit == "seconds" else ""
        rows.append(f"| `{family.series}` | {family.kind} | {labels} | {family.help}{unit} |")
    return "\n".join(rows) + "\n"


def schemas() -> str:
    """Return every JSON schema with its title."""
    rows = ["| schema | what |", "|---|---|"]
    for path in sorted((ROOT / "docs" / "schemas").glob("*.json")):
        schema = json.loads(path.read_text())
        text = schema.get("title", "")
        rows.append(f"| [{path.name}](../schemas/{path.name}) | {_cell(text)} |")
    return "\n".join(rows) + "\n"


PARTS = {
    "command-line.md": command_line,
    "errors.md": errors,
    "metrics.md": metrics,
    "schemas.md": schemas,
    "settings.md": settings,
}


def write(folder: Path) -> None:
    """Write every part into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        (folder / name).write_text(part(), encoding="utf-8")
