"""`mlops project`: look at an MLproject without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.command_line import App
from mlops.commands.output import Json, next_steps, plain, plain_table, show
from mlops.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.training.inspection import EntryPointView, ProjectView, Validation

app = App(help="Check an MLproject, or show what it can run.", no_args_is_help=True)

_Project = Annotated[
    str, typer.Argument(help="Folder with an MLproject, or a git URI, optionally with #SUBFOLDER.")
]


@app.command()
def validate(project: _Project = ".", as_json: Json = False) -> None:
    """Check MLproject and mlops.toml: every fault with its file and line; exit code 3.

    For example `mlops project validate`.
    """
    from mlops.training.inspection import validate_project

    found = validate_project(project)
    show(plain(found), as_json=as_json, render=lambda out: _render_faults(out, found, project))
    if not found.valid:
        raise typer.Exit(InvalidInputError.exit_code)


@app.command(name="show")
def show_(
    project: _Project = ".",
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "-P", "--param", metavar="NAME=VALUE", help="Put a value into the command; repeatable."
        ),
    ] = None,
    entry_point: Annotated[
        str,
        typer.Option("-e", "--entry", help="Only this entry point.", show_default=False),
    ] = "",
    as_json: Json = False,
) -> None:
    """Show entry points, their parameters, and the command as it would run."""
    from mlops.training.inspection import show_project

    found = show_project(project, entry_point, tuple(parameters or ()))
    show(plain(found), as_json=as_json, render=lambda out: _render_project(out, found))


@app.command()
def requirements(project: _Project = ".") -> None:
    """Print the packages of its python_env.yaml or conda.yaml as a requirements file for pip."""
    from mlops.training.inspection import project_requirements

    for line in project_requirements(project):
        typer.echo(line)


def _render_faults(out: Console, found: Validation, project: str) -> None:
    import shlex

    from rich.markup import escape

    for fault in found.faults:
        style = "red" if fault.severity == "error" else "yellow"
        out.print(f"[{style}]{fault.severity}:[/] {escape(str(fault))}")
    if found.valid:
        count = len(found.entry_points)
        points = ", ".join(found.entry_points) or "none"
        out.print(
            f"[green]{escape(found.project)} can run:[/] {count} entry "
            f"point{'' if count == 1 else 's'}, {escape(points)}"
        )
        # Relative to the current folder, which need not be the project.
        where = "" if project == "." else f" {shlex.quote(project)}"
        first = [each for each in found.entry_points if each != "main"][:1]
        named = [""] if "main" in found.entry_points else [f" -e {shlex.quote(e)}" for e in first]
        train = [f"mlops train{where}{entry}" for entry in named]
        next_steps(out, [*train, f"mlops project show{where}"])


def _render_project(out: Console, found: ProjectView) -> None:
    from rich.markup import escape

    out.print(f"[bold]{escape(found.name)}[/]  {escape(str(found.folder))}")
    file = f" {found.environment_file.name}" if found.environment_file else ""
    out.print(f"[dim]environment[/] {found.environment}{escape(file)}")
    for gap in found.differences:
        out.print(f"  [yellow]{escape(str(gap))}[/]")
    for point in found.entry_points:
        _render_point(out, point)
    next_steps(out, [point.train for point in found.entry_points[:1]])


def _render_point(out: Console, point: EntryPointView) -> None:
    from rich.markup import escape

    out.print(f"\n[bold]{escape(point.name)}[/]")
    if point.parameters:
        table = plain_table()
        for title in ("parameter", "type", "default", "accepts"):
            table.add_column(title, overflow="fold")
        for each in point.parameters:
            default = "[yellow]required[/]" if each.required else escape(each.default or "-")
            table.add_row(escape(each.name), each.type, default, escape(each.accepts))
        out.print(table, soft_wrap=False)
    out.print(f"[dim]runs[/] {escape(point.command)}")
