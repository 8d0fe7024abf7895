"""`mlops deploy`: what counts as feedback, and what the test is to find out."""

from __future__ import annotations

from typing import Annotated

import typer

_FEEDBACK = "Feedback"
_VERDICT = "Verdict"

Horizon = Annotated[
    str | None,
    typer.Option(
        metavar="N|14d",
        help="End the test after N requests (or sticky units) with a reward, or after a time: "
        "nearly the power of a fixed test.",
        show_default="no planned end",
        rich_help_panel=_VERDICT,
    ),
]

Worth = Annotated[
    str | None,
    typer.Option(
        metavar="DELTA",
        help="Smallest difference of rewards worth having: lets a test end with `equal`.",
        rich_help_panel=_VERDICT,
    ),
]

Guardrail = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=MARGIN",
        help="Metric that may lose no more than this before a promotion, as latency_ms=50; "
        "repeatable.",
        rich_help_panel=_VERDICT,
    ),
]

Adjust = Annotated[
    str | None,
    typer.Option(
        metavar="FEATURE|history",
        help="What was known before the draw and predicts rewards (CUPED).",
        rich_help_panel=_VERDICT,
    ),
]

Per = Annotated[
    str | None,
    typer.Option(
        metavar="outcomes|requests",
        help="Compare the sum of rewards per outcome, or per request, of each arm.",
        show_default="the mean of units",
        rich_help_panel=_VERDICT,
    ),
]

FeedbackWindow = Annotated[
    str | None,
    typer.Option(
        metavar="7d",
        help="Count feedback that comes this long after its request, and judge it then.",
        show_default="no window",
        rich_help_panel=_FEEDBACK,
    ),
]

Missing = Annotated[
    str | None,
    typer.Option(
        metavar="REWARD|left-out",
        help="Reward of a request without feedback when its window has closed.",
        rich_help_panel=_FEEDBACK,
    ),
]

Failed = Annotated[
    str | None,
    typer.Option(
        metavar="REWARD",
        help="Reward of a request that its model failed or refused.",
        rich_help_panel=_FEEDBACK,
    ),
]

Repeated = Annotated[
    str | None,
    typer.Option(
        metavar="first|last|sum",
        help="Several outcomes of one row: the first stands, the last corrects, or they sum "
        "(each with an outcome_id).",
        show_default="first",
        rich_help_panel=_FEEDBACK,
    ),
]
