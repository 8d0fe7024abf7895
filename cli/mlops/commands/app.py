"""The command line: every command's name, in the order a newcomer meets them."""

from __future__ import annotations

from typing import Annotated

import typer

import mlops

app = typer.Typer(
    name="mlops",
    help="From an MLflow project to a sound A/B test in production.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlops {mlops.__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From an MLflow project to a sound A/B test in production."""
