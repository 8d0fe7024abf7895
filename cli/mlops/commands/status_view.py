"""How the state of deployments is shown, and what was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops.commands.output import age, next_steps, note, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from mlops.deployment.clusters.status import ClusterStatus
    from mlops.deployment.clusters.stop import StoppedInCluster
    from mlops.deployment.local_target import Stopped
    from mlops.deployment.status import Status
    from mlops.deployment.targets.contract import How, TargetStatus, TargetStopped

#: Consumers take events a moment later; one that has had some for so long is behind.
_BEHIND_S = 30.0
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


def render_statuses(out: Console, found: Sequence[TargetStatus]) -> None:
    """Show the status of deployments; a record of another package as what `--json` prints."""
    if not found:
        out.print("Nothing is deployed here yet.")
        next_steps(out, ["mlops deploy --ab modelA modelB"])
    for each in found:
        view = _STATUS.get(type(each).__name__)
        if view is not None:
            view(out, each)
        else:
            out.print_json(data=plain(each))


def tell_stopped(result: TargetStopped, how: How) -> None:
    """Say what was stopped, or would be."""
    view = _STOPPED.get(type(result).__name__)
    if view is not None:
        view(result, how)
    else:
        note(f"[bold]{result.name}[/] {'stopped' if result.stopped else 'was not running'}")


def _tell_stopped(result: Stopped, how: How) -> None:
    ran = "would be stopped" if how.dry_run else "stopped"
    words = ran if result.stopped else "was not running; nothing to change"
    note(f"[bold]{result.name}[/] {words}")
    for other in result.running:
        note(f"{other} is running: `mlops stop {other}` stops it")


def _tell_stopped_in_cluster(result: StoppedInCluster, how: How) -> None:
    from rich.markup import escape

    if how.forget:
        note("nothing is asked of the cluster")
    where = escape(str(result.place))
    if not result.stopped:
        note(f"[bold]{escape(result.name)}[/] is not in {where}; nothing to change")
    for ref in result.deleted:
        note(f"  [red]-[/] {escape(str(ref))} {'would be deleted' if how.dry_run else 'deleted'}")
    for ref in result.kept:
        note(f"  [dim]=[/] {escape(str(ref))} stays")
    if result.stopped:
        words = "would be stopped" if how.dry_run else "stopped"
        note(f"[bold]{escape(result.name)}[/] in {where} {words}; the ledger keeps what it was")


def _render_here(out: Console, each: Status) -> None:
    from rich.markup import escape
    from rich.table import Table

    from mlops.commands.runtime_view import short_lines

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
        out.print(f"  [dim]these models since the start {age(each.since_ms)}{_in_journal(each)}[/]")
        if each.choice:
            out.print(f"  [dim]{escape(each.choice)}[/]")
        # A server of an older version reports less.
        executed = {arm["name"]: arm["runtime"] for arm in each.arms if "runtime" in arm}
        for line in short_lines(executed):
            out.print(f"  [dim]{escape(line)}[/]")
        for arm in each.arms:
            if arm.get("up") is False:
                out.print(f"[red]  the endpoint of {escape(arm['name'])} does not answer[/]")
    for shadow in each.shadows:
        out.print(
            f"  [dim]shadow[/] {escape(shadow['name'])}  {escape(shadow['version'])}  "
            f"{shadow['share'] * 100:.4g} %  {shadow['requests']:,} copies, "
            f"{shadow['errors']:,} errors, {shadow['dropped']:,} dropped"
        )
    for line in _consumer_lines(each.consumers):
        out.print(f"  {line}")
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


def _consumer_lines(consumers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Show the consumers that are behind or have failed, and name the others."""
    from rich.markup import escape

    well = []
    for each in consumers:
        late = each["lag_events"] > 0 and each["lag_seconds"] >= _BEHIND_S
        if late or each["failed"] or each.get("fault"):
            yield (
                f"[yellow]consumer {escape(each['name'])}[/]  {each['lag_events']:,} events "
                f"behind, {each['sent']:,} taken, {each['failed']:,} failures"
            )
        else:
            well.append(each["name"])
    if well:
        yield f"[dim]consumers keep up: {escape(', '.join(well))}[/]"


def times(count: int) -> str:
    """Say how often.

    >>> times(1), times(3)
    ('once', '3 times')
    """
    return "once" if count == 1 else f"{count:,} times"


def _in_journal(each: Status) -> str:
    """Show totals of all revisions, beside what the live models were asked."""
    if each.journal is None:
        return ""
    return (
        f"; all revisions, in the journal: {each.journal['requests']:,} requests, "
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
        why = "a dry run of applying it failed" if each.since_ms else "it has never been live"
        out.print(f"  [dim]whether it differs from the revision is not known: {why}[/]")
    if each.state == "failing":
        next_steps(out, [_look_closer(each)])
    elif each.state == "missing" or each.drift:
        next_steps(out, [f"mlops start {each.name}"])


def _look_closer(each: ClusterStatus) -> str:
    """Return the command that says why: a pod that has not started has no logs."""
    from mlops.cluster.causes import describing

    unready = [pod for pod in each.pods if not pod.ready]
    if unready and all(pod.phase == "Pending" and not pod.restarts for pod in unready):
        return describing(unready[0].name, each.namespace, each.context)
    return f"mlops logs {each.name}"


#: How records are drawn, by their class; those of clusters are imported only where one is.
_STATUS: dict[str, Any] = {"Status": _render_here, "ClusterStatus": _render_there}
_STOPPED: dict[str, Any] = {"Stopped": _tell_stopped, "StoppedInCluster": _tell_stopped_in_cluster}
