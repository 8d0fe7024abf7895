"""`mlops status`, `mlops logs`, `mlops stop`: a deployment that runs, or does not."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mlops.commands.arguments import Context, DryRun, Kubeconfig, Name, flags_of
from mlops.commands.output import Json, plain, show
from mlops.errors import UsageError


def status(
    name: Name = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Exit with 0 healthy, 10 stopped, 11 starting, 12 crashed, failing or missing.",
        ),
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Wait until it is healthy, at most this long; then exit as with --exit-code.",
            show_default=False,
        ),
    ] = 0,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Show what is deployed, here and on clusters, and how it is doing.

    For example `mlops status`.
    """
    from mlops.commands.status_view import render_statuses
    from mlops.settings import load_settings
    from mlops.workflows.health_check import health_code, healthy_statuses
    from mlops.workflows.statuses import told_of_owners

    settings = load_settings(flags=flags_of(kubeconfig, context))
    found = told_of_owners(settings, healthy_statuses(settings, name, wait))
    show(
        {"deployments": plain(found)},
        as_json=as_json,
        render=lambda out: render_statuses(out, found),
    )
    if exit_code or wait:
        raise typer.Exit(health_code(found))


def logs(
    name: Name = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Print new lines as they come.")
    ] = False,
    last: Annotated[int, typer.Option("-n", "--lines", min=0, help="Number of last lines.")] = 50,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the log of a server; on a cluster, of all its pods.

    For example `mlops logs wine --follow`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.operation import logs as lines

    settings = load_settings(flags=flags_of(kubeconfig, context))
    for line in lines(settings, name, last=last, follow=follow):
        sys.stdout.write(line)
        sys.stdout.flush()


def stop(
    name: Name = None,
    delete_journal: Annotated[
        bool,
        typer.Option(
            "--delete-journal",
            help="Delete the volume with its journal, and all evidence in it, too.",
            rich_help_panel="Cluster",
        ),
    ] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="The cluster or namespace is gone: only record that.",
            rich_help_panel="Cluster",
        ),
    ] = False,
    dry_run: DryRun = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    as_json: Json = False,
) -> None:
    """Stop a deployment; its history and journal stay.

    For example `mlops stop wine`.
    """
    from mlops.commands.status_view import tell_stopped
    from mlops.deployment.targets.contract import How
    from mlops.settings import load_settings
    from mlops.workflows.operation import stop as stop_deployment

    settings = load_settings(flags=flags_of(kubeconfig, context))
    if forget and delete_journal:
        raise UsageError("`--forget` deletes nothing.", hint="Leave `--delete-journal` out.")
    how = How(dry_run=dry_run, with_journal=delete_journal, forget=forget)
    result = stop_deployment(settings, name, how)
    if as_json:
        show(plain(result), as_json=True)
    else:
        tell_stopped(result, how)
