"""`mlops lineage`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands import completion
from mlops.commands.output import Json, next_steps, plain, show

if TYPE_CHECKING:
    import datetime as dt

    from rich.console import Console
    from rich.tree import Tree

    from mlops.registry.lineage import DataSet, Lineage, Origin, Served


def lineage(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completion.refs,
            help="For example wine, wine/3 or wine@champion.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show where a model comes from and where it went: data, run, deployments, evidence.

    For example `mlops lineage wine/3`.
    """
    from mlops.registry.lineage_queries import trace
    from mlops.settings import load_settings

    found = trace(load_settings(), ref)
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found))


def _render(out: Console, found: Lineage) -> None:
    from rich.markup import escape
    from rich.tree import Tree

    version = found.version
    chosen = f" [dim]({version.chosen_by})[/]" if version.chosen_by else ""
    aliases = "".join(f" [cyan]@{alias}[/]" for alias in found.aliases)
    tree = Tree(f"[bold green]{escape(version.label)}[/]{aliases}{chosen}")
    _add_data(tree.add("[bold]data[/]"), found)
    _add_run(tree, found.run)
    model = tree.add("[bold]model[/]")
    model.add(f"[dim]files[/] {escape(version.source)}")
    profile = found.profile
    model.add(
        f"[dim]reference profile[/] {profile.features} features, {profile.rows:,} rows of "
        f"{escape(profile.data)}"
        if profile is not None
        else "[dim]no reference profile: a summary of the training data, to compare live requests "
        "with. A script creates one with mlflow.log_input(…)[/]"
    )
    _add_deployments(tree, found.deployments)
    # Wrapped also in a pipe, where a tree would be cut off.
    out.print(tree, soft_wrap=False)
    if not found.deployments and version.name:
        next_steps(out, [f"mlops deploy --model {version.label}"])


def _add_data(branch: Tree, found: Lineage) -> None:
    from rich.markup import escape

    for item in found.data:
        branch.add(
            f"{escape(item.name)} [dim]{_of(item)}[/] {item.digest}  [dim]{escape(item.source)}[/]"
        )
    if not found.data:
        branch.add("[dim]the run logged none[/]")


def _of(item: DataSet) -> str:
    rows = f"{item.rows:,} rows" if item.rows is not None else ""
    return ", ".join(part for part in (item.context, rows) if part)


def _add_run(tree: Tree, run: Origin | None) -> None:
    from rich.markup import escape

    if run is None:
        tree.add("[bold]run[/] [dim]unknown[/]")
        return
    where = f"{run.user}@{run.host}" if run.host else run.user
    branch = tree.add(
        f"[bold]run[/] {run.run_id} [dim]{run.status} {_time(run.started)} {escape(where)}[/]"
    )
    code = f"{run.commit[:12]} {run.branch}".strip() or "no commit known"
    dirty = " [yellow]and uncommitted changes[/]" if run.dirty else ""
    facts = {
        "code": f"{escape(code)}{dirty}",
        "command": escape(run.command),
        "parameters": escape(" ".join(f"{name}={value}" for name, value in run.params.items())),
        "metrics": escape(" ".join(f"{name}={value:.4g}" for name, value in run.metrics.items())),
        "records": escape(" ".join(uri.rpartition("/")[2] for uri in run.records)),
    }
    for name, text in facts.items():
        if text:
            branch.add(f"[dim]{name}[/] {text}")


def _add_deployments(tree: Tree, served: tuple[Served, ...]) -> None:
    from rich.markup import escape

    if not served:
        tree.add("[bold]deployments[/] [dim]never deployed[/]")
    styles = {"live": "bold green", "failed": "red", "pending": "yellow", "replaced": "dim"}
    for name, revisions in groupby(served, key=lambda each: each.deployment):
        branch = tree.add(f"[bold]deployment[/] {escape(name)}")
        for each in revisions:
            leaf = branch.add(
                f"[{styles[each.state]}]revision {each.revision} {each.state}[/] "
                f"{each.action} {_time(each.created)} {escape(each.author)}, arm "
                f"{escape(each.arm)} {each.weight * 100:.4g} %"
            )
            if each.reason:
                leaf.add(f"[dim]reason[/] {escape(each.reason)}")
            for proof in each.evidence:
                mean = f", mean reward {proof.mean:.4g}" if proof.mean is not None else ""
                leaf.add(
                    f"[dim]evidence for revision {proof.revision}:[/] "
                    f"[bold]{proof.decision}[/] n = {proof.n:,}{mean}"
                ).add(f"[dim]{escape(proof.reason)}[/]")


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
