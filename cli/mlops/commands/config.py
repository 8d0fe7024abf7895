"""`mlops config`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.command_line import App
from mlops.commands.output import Json, plain, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mlops.settings import SettingLine, Settings

app = App(help="Settings in force: show.", no_args_is_help=True)


@app.callback()
def _config() -> None:
    """Settings in force: show."""


@app.command("show")
def show_config(
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each value comes from.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print every setting and its value.

    A flag wins over MLOPS_<SECTION>_<KEY>, that over the tool's own variable, that over mlops.toml.

    For example `mlops config show --origin`.
    """
    from mlops.settings import list_settings, load_settings

    settings = load_settings()
    lines = list_settings(settings)
    document = {
        "project_dir": settings.project_dir,
        "project_file": settings.project_file,
        "settings": {line.key: plain(line) for line in lines},
    }
    show(document, as_json=as_json, render=lambda out: _render(out, settings, lines, origin))


def _render(
    out: Console, settings: Settings, lines: Sequence[SettingLine], with_origin: bool
) -> None:
    from rich.markup import escape

    out.print(f"[dim]# project {escape(str(settings.project_dir))}[/]", soft_wrap=True)
    section = ""
    for line in lines:
        head, _, key = line.key.partition(".")
        if head != section:
            section = head
            out.print(f"\n[bold]\\[{head}][/]")
        given = line.origin != "default"
        value = escape(_as_toml(line.value))
        where = f"  [dim]# {escape(line.origin)}[/]" if with_origin else ""
        if line.value is None:
            # TOML has no word for it.
            out.print(f"[dim]# {key} is not set[/]{where}", soft_wrap=True)
            continue
        shown = f"[bold green]{value}[/]" if given else value
        out.print(f"{key} = {shown}{where}", soft_wrap=True)


def _as_toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_as_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # A basic string of TOML has the escapes of JSON.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
