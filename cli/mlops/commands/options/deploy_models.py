"""`mlops deploy`: which models, which share each gets, and a canary's ramp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops.commands import completion

_MODELS = "Models (one of these ways)"
_RAMP = "Ramp of a canary"

Ab = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--ab",
        metavar="REF REF",
        help="Two models that share the traffic.",
        autocompletion=completion.refs,
        rich_help_panel=_MODELS,
    ),
]

Arm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=REF[:WEIGHT]",
        help="One arm of several; repeatable.",
        autocompletion=completion.refs,
        rich_help_panel=_MODELS,
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        metavar="REF",
        help="A single model.",
        autocompletion=completion.refs,
        rich_help_panel=_MODELS,
    ),
]

File = Annotated[
    Path | None,
    typer.Option(
        "-f", "--file", metavar="SPEC", help="Deployment spec in YAML.", rich_help_panel=_MODELS
    ),
]

Ramp = Annotated[
    str,
    typer.Option(
        metavar="5,25,50,100",
        help="Shares of the canary, one after the other, in per cent; `mlops ramp` moves it. "
        "`none`: it stays, whatever the project says.",
        show_default="`ramp` of the project's [deploy], else none",
        rich_help_panel=_RAMP,
    ),
]

Every = Annotated[
    str,
    typer.Option(
        metavar="30m",
        help="Minimum duration of a step.",
        show_default="30m",
        rich_help_panel=_RAMP,
    ),
]

Advance = Annotated[
    str,
    typer.Option(
        metavar="not-worse|unless-worse",
        autocompletion=completion.one_of("not-worse", "unless-worse"),
        help="End a step when every guardrail is shown to be kept, or unless one is shown to "
        "be broken; the step to 100 always asks for the first.",
        show_default="not-worse",
        rich_help_panel=_RAMP,
    ),
]

Auto = Annotated[
    bool | None,
    typer.Option(
        "--auto/--no-auto",
        help="Let a process beside the server move the ramp, without `mlops ramp`.",
        rich_help_panel=_RAMP,
    ),
]
