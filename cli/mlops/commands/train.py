"""`mlops train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import NoPreflight
from mlops.commands.output import Json, next_steps, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.training import TrainResult

_REGISTRY = "Registry"


def train(
    project: Annotated[
        str, typer.Argument(help="Folder with an MLproject, or a git URI (#subfolder at will).")
    ] = ".",
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "-P", "--param", metavar="NAME=VALUE", help="Parameter of the entry point; repeatable."
        ),
    ] = None,
    entry_point: Annotated[
        str, typer.Option("-e", "--entry", help="Entry point, or a script in the project.")
    ] = "main",
    experiment: Annotated[
        str,
        typer.Option(help="MLflow experiment; by default the project's name.", show_default=False),
    ] = "",
    env_manager: Annotated[
        str,
        typer.Option(
            help="auto, local, uv, virtualenv or conda; by default the setting, which is auto.",
            show_default=False,
        ),
    ] = "",
    require_clean: Annotated[
        bool,
        typer.Option("--require-clean", help="Refuse files that differ from the git commit."),
    ] = False,
    register: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Registered model to make a version of; by default the project's name.",
            show_default=False,
            rich_help_panel=_REGISTRY,
        ),
    ] = "",
    no_register: Annotated[
        bool,
        typer.Option("--no-register", help="Register nothing.", rich_help_panel=_REGISTRY),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Which model to register, if the run logs several.",
            show_default=False,
            rich_help_panel=_REGISTRY,
        ),
    ] = "",
    alias: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Alias for the new version.",
            show_default=False,
            rich_help_panel=_REGISTRY,
        ),
    ] = "",
    no_preflight: NoPreflight = False,
    as_json: Json = False,
) -> None:
    """Run an MLproject, tracked in MLflow, and register the model it logs.

    For example `mlops train -P alpha=0.5`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.training import TrainRequest
    from mlops.training import train as run_training
    from mlops.workflows.preflight import preflight

    request = TrainRequest(
        project=project,
        parameters=tuple(parameters or ()),
        entry_point=entry_point,
        experiment=experiment,
        env_manager=env_manager,
        register=register,
        no_register=no_register,
        model=model,
        alias=alias,
        require_clean=require_clean,
    )
    settings = load_settings()
    with PhaseProgress() as progress:
        if not no_preflight:
            preflight(settings, write=True)
        result = run_training(request, settings, progress)
    show(plain(result), as_json=as_json, render=lambda out: _render(out, result))


def _render(out: Console, result: TrainResult) -> None:
    from rich.table import Table

    label = result.model.label if result.model is not None else "nothing registered"
    alias = f" [cyan]@{result.alias}[/]" if result.alias else ""
    moved = f" [dim](was version {result.moved_from})[/]" if result.moved_from else ""
    out.print(f"[bold green]{label}[/]{alias}{moved}")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_row("run", result.run_id)
    facts.add_row("experiment", result.experiment)
    if result.code.commit:
        dirty = " [yellow]and uncommitted changes[/]" if result.code.dirty else ""
        facts.add_row("commit", f"{result.code.commit[:12]}{dirty}")
    for name, value in result.params.items():
        facts.add_row(name, value)
    for metric, number in sorted(result.metrics.items()):
        facts.add_row(metric, f"[bold]{number:.6g}[/]")
    out.print(facts)
    next_steps(out, result.next_commands)
