"""How rendered files are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mlops.commands.output import console, next_steps, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.deployment.files_target import FilesPlan, Rendering


def show_unchanged(planned: FilesPlan, *, as_json: bool, whole: bool) -> None:
    """Show what a dry run would write."""
    show_done(planned.rendering, as_json=as_json, whole=whole)


def show_done(rendering: Rendering, *, as_json: bool, whole: bool) -> None:
    """Print manifests if they are wanted `whole`, else which files they are in."""
    from rich.text import Text

    notes = console(stderr=True)
    for line in rendering.notes:
        notes.print(Text.assemble(("note: ", "yellow"), line))
    if whole and not as_json:
        typer.echo(rendering.stream, nl=False)
        return
    show(plain(rendering), as_json=as_json, render=lambda out: _render_files(out, rendering))


def _render_files(out: Console, rendering: Rendering) -> None:
    from rich.markup import escape

    marks = {
        "create": "[green]+[/]",
        "update": "[yellow]~[/]",
        "same": "[dim]=[/]",
        "delete": "[red]-[/]",
    }
    state = "rendered" if rendering.written else "would be rendered"
    out.print(f"[bold]{escape(rendering.name)}[/] for {escape(rendering.target)} {state} to")
    for file in rendering.files:
        out.print(f"  {marks[file.change]} {escape(file.path)}")
    next_steps(out, rendering.next_commands)
