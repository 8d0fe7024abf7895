"""`mlops status`, `mlops logs`, `mlops stop`: a deployment that runs, or does not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Context, DryRun, Kubeconfig, Name, flags_of
from mlops.commands.output import Json, age, next_steps, note, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mlops.deployment.clusters.status import ClusterStatus
    from mlops.deployment.clusters.stop import StoppedThere
    from mlops.deployment.status import Status

_STYLES = {
    "running": "green",
    "starting": "yellow",
    "stopped": "dim",
    "crashed": "red",
    "unresponsive": "red",
    "unknown": "red",
    "ready": "green",
    "progressing": "yellow",
    "failing": "red",
    "missing": "red",
    "unreachable": "red",
}


def status(
    name: Name = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Exit with 0 healthy, 10 stopped, 11 starting, 12 crashed, failing or not there.",
        ),
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Wait until it is healthy, at most so long; then as --exit-code.",
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
    from mlops.settings import load_settings
    from mlops.workflows.health import health_code, healthy_statuses

    settings = load_settings(flags=flags_of(kubeconfig, context))
    found = healthy_statuses(settings, name, wait)
    show({"deployments": plain(found)}, as_json=as_json, render=lambda out: _render(out, found))
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
            help="Its cluster or namespace is gone for good: only write that down.",
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
    from mlops.settings import load_settings
    from mlops.workflows.operation import Stopped
    from mlops.workflows.operation import stop as stop_deployment

    settings = load_settings(flags=flags_of(kubeconfig, context))
    if forget and delete_journal:
        raise UsageError("`--forget` deletes nothing.", hint="Leave `--delete-journal` out.")
    result = stop_deployment(
        settings, name, with_journal=delete_journal, dry_run=dry_run, forgotten=forget
    )
    if as_json:
        show(plain(result), as_json=True)
        return
    if isinstance(result, Stopped):
        ran = "would be stopped" if dry_run else "stopped"
        words = ran if result.stopped else "was not running; nothing to change"
        note(f"[bold]{result.name}[/] {words}")
        for other in result.running:
            note(f"{other} is running: `mlops stop {other}` stops it")
    else:
        if forget:
            note("nothing is asked of the cluster")
        _tell_stopped(result, dry_run)


def _tell_stopped(result: StoppedThere, dry_run: bool) -> None:
    from rich.markup import escape

    where = escape(str(result.place))
    if not result.stopped:
        note(f"[bold]{escape(result.name)}[/] is not in {where}; nothing to change")
    for ref in result.deleted:
        note(f"  [red]-[/] {escape(str(ref))} {'would be deleted' if dry_run else 'deleted'}")
    for ref in result.kept:
        note(f"  [dim]=[/] {escape(str(ref))} stays")
    if result.stopped:
        words = "would be stopped" if dry_run else "stopped"
        note(f"[bold]{escape(result.name)}[/] in {where} {words}; the ledger keeps what it was")


def _render(out: Console, found: Sequence[Status | ClusterStatus]) -> None:
    if not found:
        out.print("Nothing is deployed here yet.")
        next_steps(out, ["mlops deploy --ab modelA modelB"])
        return
    from mlops.deployment.status import Status

    for each in found:
        if isinstance(each, Status):
            _render_here(out, each)
        else:
            _render_there(out, each)


def _render_here(out: Console, each: Status) -> None:
    from rich.markup import escape
    from rich.table import Table

    from mlops.commands.runtime_view import short_line

    style = _STYLES[each.state]
    if not each.revision:
        out.print(f"[bold]{each.name}[/] [{style}]{each.state}[/]")
        for text in each.warnings:
            out.print(f"  [yellow]{escape(text)}[/]")
        return
    since = f"started {age(each.since_ms)}" if each.state != "stopped" else age(each.since_ms)
    out.print(
        f"[bold]{each.name}[/] [{style}]{each.state}[/]  {since}  revision "
        f"{each.revision}  {each.url}{f'  pid {each.pid}' if each.pid else ''}"
    )
    if each.arms:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("arm")
        table.add_column("model")
        for title in ("weight", "requests", "refused (4xx)", "errors (5xx)", "rewards"):
            table.add_column(title, justify="right")
        for arm in each.arms:
            table.add_row(
                escape(arm["name"]),
                escape(arm["version"]),
                f"{arm['weight'] * 100:.4g} %",
                f"{arm['requests']:,}",
                f"{arm.get('refused', 0):,}",
                f"{arm['errors']:,}",
                f"{arm['rewards']:,}",
            )
        out.print(table)
        out.print(f"  [dim]since the start {age(each.since_ms)}{_in_journal(each)}[/]")
        for arm in each.arms:
            # A server that was started by an older version says less.
            if line := short_line(arm["runtime"]) if "runtime" in arm else "":
                out.print(f"  [dim]{escape(arm['name'])}: {line}[/]")
            if arm.get("up") is False:
                out.print(f"[red]  the endpoint of {escape(arm['name'])} does not answer[/]")
    for shadow in each.shadows:
        out.print(
            f"  [dim]shadow[/] {escape(shadow['name'])}  {escape(shadow['version'])}  "
            f"{shadow['share'] * 100:.4g} %  {shadow['requests']:,} copies, "
            f"{shadow['errors']:,} errors, {shadow['dropped']:,} dropped"
        )
    for consumer in each.consumers:
        out.print(
            f"  [dim]consumer[/] {escape(consumer['name'])}  {consumer['lag_events']:,} events "
            f"behind, {consumer['sent']:,} taken, {consumer['failed']:,} failures"
        )
    for worker in each.workers:
        again = f", started again {times(worker['restarts'])}" if worker["restarts"] else ""
        process = f", pid {worker['pid']}" if worker["pid"] else ""
        colour = "dim" if worker["state"] == "running" else "yellow"
        out.print(
            f"  [dim]worker {worker['number']}[/]  [{colour}]{worker['state']}[/]{process}, "
            f"{worker['requests']:,} requests{again}"
        )
    for text in each.warnings:
        out.print(f"[yellow]note: {escape(text)}[/]")
    if each.state in ("crashed", "stopped"):
        logs = [f"mlops logs {each.name}"] if each.state == "crashed" else []
        next_steps(out, [*logs, f"mlops start {each.name}"])


def times(count: int) -> str:
    """Say how often.

    >>> times(1), times(3)
    ('once', '3 times')
    """
    return "once" if count == 1 else f"{count:,} times"


def _in_journal(each: Status) -> str:
    """Say how much there is in all, beside what was counted since the start."""
    if each.journal is None:
        return ""
    return (
        f"; in the journal {each.journal['requests']:,} requests, "
        f"{each.journal['outcomes']:,} outcomes"
    )


def _render_there(out: Console, each: ClusterStatus) -> None:
    from rich.markup import escape

    style = _STYLES[each.state]
    where = f"namespace {each.namespace}" + (f" of {each.context}" if each.context else "")
    since = "stopped" if each.state == "stopped" else "live since"
    when = f"{since} {age(each.since_ms)}" if each.since_ms else "never live"
    out.print(
        f"[bold]{escape(each.name)}[/] [{style}]{each.state}[/]  {when}  revision "
        f"{each.revision}  {escape(each.target)} in {escape(where)}"
    )
    for url in each.urls:
        out.print(f"  {escape(url)}")
    if each.message:
        out.print(f"  [{style}]{escape(each.message)}[/]")
    for one in each.objects:
        mark = "[green]✓[/]" if one.ready else "[red]✗[/]" if one.missing else "[yellow]…[/]"
        differs = "  [yellow]differs from the revision[/]" if one.ref in (each.drift or ()) else ""
        said = f"  [dim]{escape(one.message)}[/]" if one.message else ""
        out.print(f"  {mark} {escape(str(one.ref))}{said}{differs}")
    for pod in each.pods:
        style = "green" if pod.ready else "yellow"
        more = f"  {escape(pod.reason)}" if pod.reason else ""
        restarts = f"  {pod.restarts} restarts" if pod.restarts else ""
        state = "ready" if pod.ready else pod.phase
        out.print(f"  [dim]pod[/] {escape(pod.name)}  [{style}]{state}[/]{restarts}{more}")
    if each.drift is None and each.objects:
        out.print("  [dim]whether it differs from the revision is not known[/]")
    if each.state == "failing":
        next_steps(out, [f"mlops logs {each.name}"])
    elif each.state == "missing" or each.drift:
        next_steps(out, [f"mlops start {each.name}"])
