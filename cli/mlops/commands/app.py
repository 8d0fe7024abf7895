"""The command line: every command's name, in the order a new user needs them."""

from __future__ import annotations

import importlib
from typing import Annotated, NamedTuple

import typer

import mlops
from mlops.commands.command_line import App, Command, Root

_LOOP = "The loop"
_LOOK = "Look and operate"


class _Listed(NamedTuple):
    """A command, or a group of them: its name, the module it is in, and its panel of the help."""

    name: str
    module: str
    panel: str
    is_group: bool = False


_COMMANDS = (
    _Listed("demo", "demo", _LOOP),
    _Listed("init", "init", _LOOP),
    _Listed("train", "train", _LOOP),
    _Listed("plan", "plan", _LOOP),
    _Listed("deploy", "deploy", _LOOP),
    _Listed("feedback", "feedback", _LOOP),
    _Listed("report", "report", _LOOP),
    _Listed("evaluate", "evaluate", _LOOP),
    _Listed("ramp", "ramp", _LOOP),
    _Listed("promote", "promotion", _LOOP),
    _Listed("rollback", "promotion", _LOOP),
    _Listed("status", "operate", _LOOK),
    _Listed("logs", "operate", _LOOK),
    _Listed("stop", "operate", _LOOK),
    _Listed("ui", "ui", _LOOK),
    _Listed("start", "start", _LOOK),
    _Listed("predict", "predict", _LOOK),
    _Listed("batch", "batch", _LOOK),
    _Listed("explain", "explain", _LOOK),
    _Listed("history", "promotion", _LOOK),
    _Listed("monitor", "monitor", _LOOK, is_group=True),
    _Listed("audit", "audit", _LOOK, is_group=True),
    _Listed("lineage", "lineage", _LOOK),
    _Listed("project", "project", _LOOK, is_group=True),
    _Listed("lint", "lint", _LOOK),
    _Listed("models", "models", _LOOK, is_group=True),
    _Listed("doctor", "doctor", _LOOK),
    _Listed("stores", "stores", _LOOK, is_group=True),
    _Listed("cache", "cache", _LOOK, is_group=True),
    _Listed("keys", "keys", _LOOK, is_group=True),
    _Listed("journal", "journal", _LOOK, is_group=True),
    _Listed("config", "config", _LOOK, is_group=True),
)


def program(name: str = "") -> App:
    """Return the program with one command or group; with all of them if none has that name.

    For the start: to import all modules takes 10 ms, and Typer makes the parameters of all
    commands before it looks which one is meant, which takes as long as to import Typer.
    """
    app = App(
        cls=Root,
        name="mlops",
        help="From an MLflow project to a sound A/B test in production.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_program)
    for each in [listed for listed in _COMMANDS if listed.name == name] or _COMMANDS:
        module = importlib.import_module(f"mlops.commands.{each.module}")
        if each.is_group:
            app.add_typer(module.app, name=each.name, rich_help_panel=each.panel)
        else:
            kind = getattr(module, "COMMAND_CLASS", Command)
            app.command(cls=kind, rich_help_panel=each.panel)(getattr(module, each.name))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlops {mlops.__version__}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From an MLflow project to a sound A/B test in production."""
