"""How a deployment on a cluster is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops.commands.output import is_quiet, next_steps, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.deployment.clusters.deploy import Applied
    from mlops.deployment.clusters.plan import ClusterPlan
    from mlops.deployment.clusters.target import ToApply

_WORDS = {
    "create": "will be created",
    "update": "will be updated",
    "repair": "differs in the cluster from what was applied, and will be repaired",
    "nothing": "is up to date; nothing to change",
}
_MARKS = {
    "create": "[green]+[/]",
    "update": "[yellow]~[/]",
    "same": "[dim]=[/]",
    "delete": "[red]-[/]",
    "keep": "[dim]=[/]",
    "later": "[dim]=[/]",
}
_SAID = {
    "keep": "  (no longer needed, and kept: what is in it is yours)",
    "later": "  (no longer needed; removed by the next deploy that waits)",
}


def show_plan(out: Console, planned: ToApply) -> None:
    """Say what will happen to a deployment on a cluster."""
    from rich.markup import escape
    from rich.text import Text

    plan = planned.plan
    for line in planned.notes if plan.kind != "nothing" else ():
        out.print(Text.assemble(("note: ", "yellow"), line))
    where = escape(str(plan.place))
    out.print(f"[bold]{escape(plan.after.name)}[/] {_WORDS[plan.kind]} in {where}")
    styles = {"+": "green", "-": "red", "~": "yellow", " ": "dim"}
    for line in plan.lines:
        out.print(Text(f"  {line}", style=styles[line[0]]))
    if plan.kept and plan.kind != "nothing":
        out.print(Text(f"  kept: {', '.join(plan.kept)}  (--reset NAME undoes it)", style="dim"))
    for change in plan.objects:
        said = _SAID.get(change.action, "")
        out.print(f"  {_MARKS[change.action]} {escape(str(change.ref))}[dim]{said}[/]")


def show_unchanged(planned: ToApply, *, as_json: bool, whole: bool) -> None:
    """Show what a dry run found: the difference of each object, and what would stop it.

    Raises:
        NotFoundError: Pods would wait for what is not there.
    """
    plan, fault = planned.plan, planned.prepared.fault
    if fault is not None and as_json:
        # One document: that of the error.
        raise fault
    show({"plan": _planned(plan)}, as_json=as_json, render=lambda out: _render_dry(out, planned))
    if fault is not None:
        raise fault


def show_done(result: Applied, *, as_json: bool, whole: bool) -> None:
    """Show the result of a deployment on a cluster."""
    show(_document(result), as_json=as_json, render=lambda out: _render(out, result))


def _render_dry(out: Console, planned: ToApply) -> None:
    """Show the difference; a user has seen the plan already, unless notes are silenced."""
    if is_quiet():
        show_plan(out, planned)
    _render_diff(out, planned.plan)


def _render_diff(out: Console, plan: ClusterPlan) -> None:
    from rich.text import Text

    styles = {"+": "green", "-": "red", "@": "cyan"}
    for change in plan.objects:
        for line in change.diff:
            out.print(Text(line, style=styles.get(line[0], "")), soft_wrap=True)


def _planned(plan: ClusterPlan) -> dict[str, Any]:
    return {
        "name": plan.after.name,
        "change": plan.kind,
        "revision": plan.revision,
        "target": plan.place.target,
        "context": plan.place.context,
        "namespace": plan.place.namespace,
        "lines": list(plan.lines),
        "kept": list(plan.kept),
        "objects": [
            {**plain(each.ref), "change": each.action, "diff": list(each.diff)}
            for each in plan.objects
        ],
    }


def _document(result: Applied) -> dict[str, Any]:
    """Return the result of a deployment on a cluster, for scripts."""
    plan, place = result.plan, result.plan.place
    return {
        "name": plan.after.name,
        "change": plan.kind,
        "revision": result.revision,
        "target": place.target,
        "context": place.context,
        "namespace": place.namespace,
        "ready": result.ready,
        "arms": plain(plan.after.arms),
        "shadows": plain(plan.after.shadows),
        "objects": [{**plain(each.ref), "change": each.action} for each in plan.objects],
        "urls": list(result.urls),
        "notes": list(result.notes),
        "next_commands": list(result.next_commands),
    }


def _render(out: Console, result: Applied) -> None:
    """Show the result of a deployment on a cluster."""
    from rich.markup import escape

    plan = result.plan
    out.print(
        f"[bold green]{escape(plan.after.name)}[/] revision {result.revision} in "
        f"{escape(str(plan.place))}"
    )
    for url in result.urls:
        out.print(f"[bold]{escape(url)}[/]")
    next_steps(out, result.next_commands)
