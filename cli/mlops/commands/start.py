"""`mlops start`: bring up what was live last."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.commands.arguments import ClusterTimeout, Context, Kubeconfig, Name, flags_of
from mlops.commands.output import Json, absolute_program, show
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
    from mlops.commands.clusters import applied_document, render_applied
    from mlops.commands.deploy import deployed_document, render_deployed
    from mlops.commands.progress import TransferProgress
    from mlops.deployment.deploy import Deployed
    from mlops.deployment.local import stay
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
        result = bring_up(
            settings, name, foreground=foreground, say=progress.phase, show=progress.update
        )
    if not isinstance(result, Deployed):
        show(
            applied_document(result),
            as_json=as_json,
            render=lambda out: render_applied(out, result),
        )
        return
    show(
        deployed_document(result),
        as_json=as_json,
        render=lambda out: render_deployed(out, result),
    )
    if result.process is not None:
        raise typer.Exit(stay(result.process))
