"""`mlops evaluate`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands import completion
from mlops.commands.output import Json, plain, plain_table, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mlops.evaluation.base import Evaluation
    from mlops.stats.off_policy import Estimate

#: Nothing was estimated; as `mlops report --exit-code` says inconclusive.
_REFUSED = 11


def evaluate(
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="REF", help="Model that was never deployed there.", show_default=False
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="NAME", help="Deployment whose journal is read.",
            show_default="the only one", autocompletion=completion.deployments,
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            metavar="POLICY", show_default=False,
            help="A policy instead: `thompson floor=0.1`, or weights `a=0.2,b=0.8`.",
        ),
    ] = "",
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0.0001, max=0.5, help="Probability that an interval misses.", show_default="0.05"
        ),
    ] = None,
    min_effective: Annotated[
        float, typer.Option(min=10, help="Effective sample size below which nothing is estimated.")
    ] = 100.0,
    whole: Annotated[
        bool,
        typer.Option("--all", help="Take evidence from before the experiment was last ended, too."),
    ] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Estimate what a model or a policy that was never live would have earned.

    For example `mlops evaluate wine/7 --on wine`, or `mlops evaluate --policy thompson --on wine`.
    Exits with 11 where the journal knows too little for an estimate.
    """
    from mlops.settings import load_settings
    from mlops.workflows.evaluate import evaluated_model, evaluated_policy

    if bool(ref) == bool(policy):
        raise UsageError(
            "Name what is to be evaluated: a model or `--policy`, not both.",
            hint="`mlops evaluate wine/7 --on wine`, or `mlops evaluate --policy thompson`.",
        )
    if not math.isfinite(min_effective):
        raise UsageError(
            f"`--min-effective {min_effective}` is not a finite number.",
            hint="For example `--min-effective 100`.",
        )
    settings = load_settings(flags={"report.alpha": alpha, "report.all": whole or None})
    if ref:
        found = evaluated_model(settings, on, ref, min_effective=min_effective)
    else:
        found = evaluated_policy(settings, on, policy, min_effective=min_effective)
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found))
    if found.refused:
        raise typer.Exit(_REFUSED)


def _render(out: Console, found: Evaluation) -> None:
    from rich.markup import escape

    left = f", {found.used:,} of them used" if found.used < found.decisions else ""
    out.print(
        f"[bold]{escape(found.subject)}[/] on {escape(found.name)}, reward {escape(found.reward)}\n"
        f"[dim]{found.decisions:,} decisions with a reward{left}; effective sample size "
        f"{found.effective:,.0f}{_weights(found)}[/]\n"
    )
    out.print(_arms(found), soft_wrap=False)
    out.print()
    if found.estimates:
        out.print(_estimates(found), soft_wrap=False)
        out.print("[dim]" + _legend(found) + "[/]")
    if found.refused:
        out.print(f"[red]No estimate: {escape(found.refused)}[/]")
        out.print(f"[dim]{escape(found.hint)}[/]")
    for each in found.unsupported:
        out.print(
            f"[yellow]left out: {each.decisions:,} decisions: {escape(each.reason)}[/]"
        )  # fmt: skip
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]")


def _weights(found: Evaluation) -> str:
    if found.weights is None or not found.effective:
        return ""
    share = 100 * found.weights.largest_share
    return f", mean weight {found.weights.mean:.3g}, largest {share:.2g} % of all"


def _arms(found: Evaluation) -> Table:
    from rich.markup import escape

    table = plain_table()
    table.add_column("arm")
    for title in ("decisions", "mean reward", "logged", "evaluated"):
        table.add_column(title, justify="right")
    for arm in found.arms:
        table.add_row(
            escape(arm.arm),
            f"{arm.decisions:,}",
            "-" if arm.mean is None else f"{arm.mean:.5g}",
            f"{100 * arm.logged:.3g} %",
            "-" if arm.share is None else f"{100 * arm.share:.3g} %",
        )
    return table


def _estimates(found: Evaluation) -> Table:
    from rich.markup import escape

    table = plain_table()
    table.add_column("mean reward")
    table.add_column("estimator")
    table.add_column("estimate", justify="right")
    table.add_column(f"{100 * (1 - found.alpha):g} % interval", justify="right")
    table.add_column("holds")
    rows = [("served", found.served), *(("evaluated", each) for each in found.estimates)]
    for gain in found.gains:
        rows += [(f"gain on {gain.than}", each) for each in gain.estimates]
    for what, each in rows:
        table.add_row(
            escape(what),
            each.estimator,
            f"{each.value:.5g}",
            _interval(each),
            {"asymptotic": "now", "asymptotic, at every look": "always"}.get(
                each.guarantee, "always, exact"
            ),
        )
    return table


def _interval(each: Estimate) -> str:
    if not math.isfinite(each.lower):
        return "not known yet"
    return f"[{each.lower:.5g}, {each.upper:.5g}]".replace("[", r"\[")


def _legend(found: Evaluation) -> str:
    exact = any("exact" in each.guarantee for each in found.estimates)
    return (
        "now: at this look, for many decisions; always: at every look"
        + ("; exact: at any number of decisions" if exact else "")
        + "."
    )
