"""The command line: every command's name, in the order a newcomer meets them."""

from __future__ import annotations

from typing import Annotated

import typer

import mlops
from mlops.commands import (
    audit,
    cache,
    config,
    demo,
    deploy,
    doctor,
    evaluate,
    feedback,
    init,
    journal,
    keys,
    lineage,
    lint,
    models,
    monitor,
    operate,
    plan,
    predict,
    project,
    promotion,
    ramp,
    report,
    start,
    stores,
    train,
    ui,
)
from mlops.commands.command_line import App, Root

_LOOP = "The loop"
_LOOK = "Look and operate"

app = App(
    cls=Root,
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


app.command(rich_help_panel=_LOOP)(demo.demo)
app.command(rich_help_panel=_LOOP)(init.init)
app.command(cls=train.TrainCommand, rich_help_panel=_LOOP)(train.train)
app.command(rich_help_panel=_LOOP)(plan.plan)
app.command(rich_help_panel=_LOOP)(deploy.deploy)
app.command(rich_help_panel=_LOOP)(feedback.feedback)
app.command(rich_help_panel=_LOOP)(report.report)
app.command(rich_help_panel=_LOOP)(evaluate.evaluate)
app.command(rich_help_panel=_LOOP)(ramp.ramp)
app.command(rich_help_panel=_LOOP)(promotion.promote)
app.command(rich_help_panel=_LOOP)(promotion.rollback)
app.command(rich_help_panel=_LOOK)(operate.status)
app.command(rich_help_panel=_LOOK)(operate.logs)
app.command(rich_help_panel=_LOOK)(operate.stop)
app.command(rich_help_panel=_LOOK)(ui.ui)
app.command(rich_help_panel=_LOOK)(start.start)
app.command(rich_help_panel=_LOOK)(predict.predict)
app.command(rich_help_panel=_LOOK)(promotion.history)
app.add_typer(monitor.app, name="monitor", rich_help_panel=_LOOK)
app.add_typer(audit.app, name="audit", rich_help_panel=_LOOK)
app.command(rich_help_panel=_LOOK)(lineage.lineage)
app.add_typer(project.app, name="project", rich_help_panel=_LOOK)
app.command(rich_help_panel=_LOOK)(lint.lint)
app.add_typer(models.app, name="models", rich_help_panel=_LOOK)
app.command(rich_help_panel=_LOOK)(doctor.doctor)
app.add_typer(stores.app, name="stores", rich_help_panel=_LOOK)
app.add_typer(cache.app, name="cache", rich_help_panel=_LOOK)
app.add_typer(keys.app, name="keys", rich_help_panel=_LOOK)
app.add_typer(journal.app, name="journal", rich_help_panel=_LOOK)
app.add_typer(config.app, name="config", rich_help_panel=_LOOK)
