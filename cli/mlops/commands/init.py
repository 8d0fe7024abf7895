"""`mlops init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops.commands.output import Json, asking, next_steps, note, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workflows.scaffold import InitResult

_CI = "The workflow"


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
            help="Add a workflow that trains a challenger; also to an existing project.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="With --ci: the metric that must not get worse.",
            show_default=False,
            rich_help_panel=_CI,
        ),
    ] = "",
    minimize: Annotated[
        bool, typer.Option("--minimize", help="Lower is better.", rich_help_panel=_CI)
    ] = False,
    maximize: Annotated[
        bool, typer.Option("--maximize", help="Higher is better.", rich_help_panel=_CI)
    ] = False,
    mlops_source: Annotated[
        str,
        typer.Option(
            "--mlops-source",
            metavar="REQUIREMENT",
            help="With --ci: what pip installs mlops from; by default where this one came from.",
            show_default=False,
            rich_help_panel=_CI,
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a project to start from; never overwrite a file.

    For example `mlops init wine --template wine`.
    """
    from rich.markup import escape

    from mlops.workflows.scaffold import InitRequest
    from mlops.workflows.scaffold import init as make_project

    if minimize and maximize:
        raise UsageError("`--minimize` and `--maximize` exclude each other.")
    if ci is None and (metric or minimize or maximize or mlops_source):
        raise UsageError(
            "`--metric` and `--mlops-source` are about a workflow.", hint="Add `--ci`."
        )
    result = make_project(
        InitRequest(
            folder,
            template,
            ci,
            metric=metric,
            better="lower" if minimize else "higher" if maximize else None,
            source=mlops_source,
            ask=None if as_json else asking(),
        )
    )
    for text in result.notes:
        note(f"[yellow]note:[/] {escape(text)}")
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
