"""`mlops start`: start what was live last."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.commands.arguments import ClusterTimeout, Context, Kubeconfig, Name, flags_of
from mlops.commands.output import Json, absolute_program
from mlops.errors import UsageError


def start(
    name: Name = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Run in the foreground, and log here.")
    ] = False,
    unit: Annotated[
        bool,
        typer.Option(
            "--unit",
            help="Start nothing; print a systemd user unit that does, after a crash or a reboot.",
        ),
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: ClusterTimeout = None,
    as_json: Json = False,
) -> None:
    """Bring up the last live revision of a deployment, after a stop, a crash or a reboot.

    For example `mlops start wine`; `mlops start wine --unit` prints a systemd user unit for it.
    """
    from mlops.commands.deploy_view import show_result, stay_with
    from mlops.commands.progress import TransferProgress
    from mlops.deployment.targets.contract import Talk
    from mlops.settings import load_settings
    from mlops.workflows.starting import start as bring_up
    from mlops.workflows.starting import unit_of

    settings = load_settings(flags=flags_of(kubeconfig, context, timeout))
    if unit and (foreground or as_json):
        raise UsageError("`--unit` prints a unit and starts nothing.", hint="Say it alone.")
    if unit:
        typer.echo(unit_of(settings, name, absolute_program()), nl=False)
        return
    with TransferProgress() as progress:
        talk = Talk(progress.phase, progress.line, progress.update)
        result = bring_up(settings, name, foreground=foreground, talk=talk)
    show_result(result, as_json=as_json)
    stay_with(result, foreground=False)
