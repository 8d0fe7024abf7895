"""`mlops plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.output import Json, next_steps, plain, plain_table, show

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mlops.monitoring.planned import TestPlan

_TRAFFIC, _REWARD = "Traffic", "Reward"


def plan(
    name: Name = None,
    lift: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Difference of mean rewards to find.", show_default="[report] worth"
        ),
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="The lift is a share of the baseline's mean.")
    ] = False,
    power: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Probability to find it.")
    ] = 0.8,
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0.0001, max=0.5, help="Probability of ever naming a false winner.",
            show_default="0.05",
        ),
    ] = None,
    days: Annotated[
        float, typer.Option(min=0.01, help="Longest time that the test may take.")
    ] = 28.0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=1 - 1e-6, help="Mean of a reward of 0 and 1, such as conversion.",
            rich_help_panel=_REWARD, show_default="the journal's",
        ),
    ] = None,
    mean: Annotated[
        float | None,
        typer.Option(
            help="Mean reward of the baseline.", rich_help_panel=_REWARD, show_default=False
        ),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(
            min=1e-12, help="Standard deviation of one reward.", rich_help_panel=_REWARD,
            show_default="the journal's",
        ),
    ] = None,
    reward_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW..HIGH", help="Range of the reward.", rich_help_panel=_REWARD,
            show_default="the journal's",
        ),
    ] = None,
    pair_correlation: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=0.999, help="Correlation of two models' rewards on the same row.",
            rich_help_panel=_REWARD, show_default="that of shadows, else 0.8",
        ),
    ] = None,
    unit_correlation: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Correlation of two rewards of one sticky unit.",
            rich_help_panel=_REWARD, show_default="0",
        ),
    ] = None,
    requests_per_day: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Requests of all arms.", rich_help_panel=_TRAFFIC,
            show_default="the journal's",
        ),
    ] = None,
    requests_per_unit: Annotated[
        float | None,
        typer.Option(
            min=1.0, help="Requests of a sticky unit during the test: plans a sticky test, too.",
            rich_help_panel=_TRAFFIC, show_default=False,
        ),
    ] = None,
    labelled: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=1.0, help="Share of requests that get a reward.",
            rich_help_panel=_TRAFFIC, show_default="the journal's, else 1",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="50/50", help="Share of each arm, in per cent, the baseline first.",
            rich_help_panel=_TRAFFIC, show_default="the live one",
        ),
    ] = "",
    arms: Annotated[
        int | None,
        typer.Option(
            min=2, max=64, help="Arms that share the traffic equally.", rich_help_panel=_TRAFFIC,
            show_default="2",
        ),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Say how many requests and days a test needs, and whether it is hopeless.

    For example `mlops plan --lift 0.01 --rate 0.05 --requests-per-day 2000`, or `mlops plan wine
    --lift 0.02` with what its journal knows.
    """
    from mlops.settings import load_settings
    from mlops.workflows.planning import Given, plan_for

    settings = load_settings(
        flags={"report.alpha": alpha, "feedback.reward_range": reward_range}
    )  # fmt: skip
    given = Given(
        lift, relative, rate, mean, sd, requests_per_day, labelled, split, arms, power, days,
        requests_per_unit, unit_correlation, pair_correlation,
    )  # fmt: skip
    found = plan_for(settings, name, given)
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found))


def _render(out: Console, found: TestPlan) -> None:
    from rich.markup import escape

    basis, goal = found.basis, found.goal
    part = abs(goal.lift / basis.mean) if basis.mean else 2.0
    share = f" ({part:.3g} of the mean)" if part <= 1 else ""
    split = "/".join(f"{100 * each:.3g}" for each in basis.shares)
    if found.name:
        out.print(f"[bold]{escape(found.name)}[/]")
    out.print(
        f"lift {goal.lift:.4g}{share}, power {goal.power:.0%}, alpha {goal.alpha:g}, "
        f"split {split}\n[dim]one reward: mean {basis.mean:.4g}, standard deviation "
        f"{basis.variance**0.5:.4g}{_traffic(found)}[/]\n".replace("%", " %")
    )
    out.print(_table(found), soft_wrap=False)
    for text in found.advice:
        style = "red" if text.startswith("Hopeless") else "default"
        out.print(f"[{style}]{escape(text)}[/]")
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]")
    if found.name:
        next_steps(out, [f"mlops report {found.name}"])
    elif not found.hopeless:
        end = found.designs[1].observations
        next_steps(out, [f"mlops deploy --ab REF REF{f' --horizon {end}' if end else ''}"])


def _traffic(found: TestPlan) -> str:
    basis = found.basis
    if basis.per_day is None:
        return ""
    answered = f", {basis.answered:.3g} of them with a reward" if basis.answered < 1 else ""
    return f"; {basis.per_day:,.4g} {basis.kind} a day{answered}"


def _table(found: TestPlan) -> Table:

    from mlops.monitoring.planned import duration

    table = plain_table()
    table.add_column("unit")
    table.add_column("horizon")
    for title in ("with a reward", "time", "power", "smallest lift"):
        table.add_column(title, justify="right")
    for each in found.designs:
        time = "-" if each.days is None else duration(each.days)
        table.add_row(
            each.kind,
            "yes" if each.horizon else "no",
            "never" if each.observations is None else f"{each.observations:,}",
            f"[red]{time}[/]" if each.hopeless else time,
            "-" if each.power is None else _power(each.power),
            "-" if each.smallest_lift is None else f"{each.smallest_lift:.3g}",
        )
    if any(each.power is not None for each in found.designs):
        wanted = f"{found.goal.power:.0%}".replace("%", " %")
        table.caption = (
            f"power, and smallest lift with {wanted} power, in {duration(found.goal.days)}"
        )
        table.caption_justify = "left"
    return table


def _power(power: float) -> str:
    """Write a probability in per cent, never rounded to certainty."""
    return "> 99 %" if power > 0.99 else f"{100 * power:.0f} %"
