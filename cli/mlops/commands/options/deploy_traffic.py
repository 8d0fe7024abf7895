"""`mlops deploy`: how the traffic is split, and what is deployed under which name."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.commands import completion
from mlops.rewards import REWARDS
from mlops.runtimes import AUTO, RUNTIMES

_TRAFFIC = "Traffic"

Canary = Annotated[
    str | None,
    typer.Option(
        metavar="REF=PERCENT",
        help="With --model: a second model and its share of the traffic.",
        autocompletion=completion.refs,
        rich_help_panel=_TRAFFIC,
    ),
]

Shadow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REF[=PERCENT]",
        help="Model that gets a copy of requests; its answers are recorded, never returned.",
        autocompletion=completion.refs,
        rich_help_panel=_TRAFFIC,
    ),
]

Split = Annotated[
    str | None,
    typer.Option(metavar="50/50", help="Share of each arm, in per cent.", rich_help_panel=_TRAFFIC),
]

StickyBy = Annotated[
    str | None,
    typer.Option(
        metavar="header:NAME|field:NAME",
        help="Send requests with the same value to the same arm.",
        rich_help_panel=_TRAFFIC,
    ),
]

Reward = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=completion.rewards,
        help=f"Reward function: {', '.join(REWARDS)} or module:function. By default what "
        "fits the models' answers.",
        show_default=False,
        rich_help_panel=_TRAFFIC,
    ),
]

CostMatrix = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="JSON or YAML, truth -> prediction -> cost, for the reward cost.",
        show_default=False,
        rich_help_panel=_TRAFFIC,
    ),
]

DecisionRule = Annotated[
    str | None,
    typer.Option(
        metavar="most-likely|min-cost|threshold=T",
        help="What the reward cost takes for the prediction of probabilities; by default the most "
        "likely class.",
        show_default=False,
        rich_help_panel=_TRAFFIC,
    ),
]

RewardRange = Annotated[
    str | None,
    typer.Option(
        metavar="LOW..HIGH",
        help="Range of every reward; gives exact intervals from the first outcome.",
        rich_help_panel=_TRAFFIC,
    ),
]

Redraw = Annotated[
    bool,
    typer.Option(
        "--redraw",
        help="Draw sticky units that came before again, instead of leaving them on their arm.",
        rich_help_panel=_TRAFFIC,
    ),
]

Runtime = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=completion.runtimes,
        help=f"What executes the models: auto, {', '.join(RUNTIMES)}. Used where it is shown "
        "to answer as the model does.",
        show_default=AUTO,
        rich_help_panel=_TRAFFIC,
    ),
]

Name = Annotated[
    str | None,
    typer.Option(help="Name of the deployment.", show_default="the project's name"),
]

Policy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[ OPTION=VALUE ...]",
        help="How an arm is drawn: weighted; or thompson, ucb1, epsilon-greedy, softmax, which "
        "learn from feedback; linear-ucb, linear-greedy, linear-thompson, by the request's "
        "--features; or a policy of another package.",
        show_default="weighted",
        rich_help_panel=_TRAFFIC,
    ),
]

Floor = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Minimum probability of an arm, for a policy that learns.",
        show_default="0.05",
        rich_help_panel=_TRAFFIC,
    ),
]

Features = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[,NAME...]",
        help="Features of the request that a linear policy looks at.",
        rich_help_panel=_TRAFFIC,
    ),
]

Reset = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OPTION",
        help="Keep nothing of this option: reward, split, shadow, sticky-by, port…",
    ),
]

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show the plan, with --apply the diff, and change nothing."),
]
