"""`mlops ui`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.output import Json, note, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workflows.project_pages import Pages


def ui(
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_535, help="Port to listen on.", show_default="the first free from 5000"
        ),
    ] = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the URL and open no browser.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Open a live page of the project's deployments, with MLflow's pages on its runs and models.

    Serves them on this machine only, until Ctrl-C. Where runs are kept by an MLflow server, its
    pages are linked.

    For example `mlops ui --port 5001`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.workflows.project_pages import project_pages

    settings = load_settings()
    with ExitStack() as stack:
        with PhaseProgress() as progress:
            progress.phase("Starting MLflow's server")
            served = stack.enter_context(project_pages(settings, port))
        pages = served.pages
        show(plain(pages), as_json=as_json, render=lambda out: _render(out, pages))
        sys.stdout.flush()
        if not no_open and sys.stdout.isatty():
            typer.launch(pages.url)
        note("[dim]Ctrl-C ends it.[/]")
        served.wait()


def _render(out: Console, pages: Pages) -> None:
    from rich.markup import escape

    out.print(f"deployments  [bold]{escape(pages.url)}[/]", soft_wrap=True)
    out.print(f"MLflow       {escape(pages.mlflow)}", soft_wrap=True)
    for name, url in pages.deployments.items():
        out.print(f"{escape(name)}  {escape(url)}/ui  {escape(url)}/report", soft_wrap=True)
