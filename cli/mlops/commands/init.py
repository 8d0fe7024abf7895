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
        Path, typer.Argument(metavar="DIR", help="Folder of the project.", show_default=False)
    ] = Path(),
    template: Annotated[
        Literal["wine", "minimal"] | None,
        typer.Option(
            help="wine: the example of the README, the default. minimal: the least that trains.",
            show_default=False,
        ),
    ] = None,
    ci: Annotated[
        Literal["github", "gitlab"] | None,
        typer.Option(
            "--ci",
            help="Add a workflow that trains a challenger; also to a project that is there.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a project to start from; never overwrite a file."""
    from mlops.training.scaffold import InitRequest
    from mlops.training.scaffold import init as make_project

    result = make_project(InitRequest(folder, template, ci))
    show(plain(result), as_json=as_json, render=lambda out: _render(out, result))


def _render(out: Console, result: InitResult) -> None:
    from rich.markup import escape

    head = result.template or "workflow"
    out.print(f"[bold]{escape(head)}[/] in {escape(str(result.folder))}")
    for name in result.created:
        out.print(f"  [green]+[/] {escape(name)}")
    for name in result.unchanged:
        out.print(f"  [dim]= {escape(name)} (unchanged)[/]")
    next_steps(out, result.next_commands)
