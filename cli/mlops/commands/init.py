"""`mlops init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops.commands.output import Json, next_steps, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.training.scaffold import InitResult


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder of the project.", show_default=False)
    ] = Path(),
    template: Annotated[
        Literal["wine", "minimal"],
        typer.Option(help="wine: the example of the README. minimal: the least that trains."),
    ] = "wine",
    as_json: Json = False,
) -> None:
    """Write a project to start from; never overwrite a file."""
    from mlops.training.scaffold import InitRequest
    from mlops.training.scaffold import init as make_project

    result = make_project(InitRequest(folder, template))
    show(plain(result), as_json=as_json, render=lambda out: _render(out, result))


def _render(out: Console, result: InitResult) -> None:
    from rich.markup import escape

    out.print(f"[bold]{escape(result.template)}[/] in {escape(str(result.folder))}")
    for name in result.created:
        out.print(f"  [green]+[/] {escape(name)}")
    for name in result.unchanged:
        out.print(f"  [dim]= {escape(name)} (unchanged)[/]")
    next_steps(out, result.next_commands)
