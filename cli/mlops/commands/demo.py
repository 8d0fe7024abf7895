"""`mlops demo`: the whole story, told by running it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.output import console, program

if TYPE_CHECKING:
    from collections.abc import Sequence

_STORY = (
    ("A wine shop wants to predict how a wine will be rated.", "init --template wine"),
    ("Two models that differ in one parameter.", "train -P alpha=0.1 --alias modelA"),
    ("", "train -P alpha=1.0 --alias modelB"),
    ("Offline they are close. Compare them on traffic.", "deploy --ab modelA modelB"),
    ("Simulate requests, and send their labels.", "feedback"),
    ("Which is better?", "report"),
)
# By chance alone the split is in doubt at one look of forty, and a verdict waits.
_MOST_LOOKS = 3


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="New folder for it.", show_default="mlops-demo"),
    ] = None,
) -> None:
    """Train two models, deploy them, simulate traffic, decide: the whole loop in two minutes.

    For example `mlops demo`.
    """
    from mlops.workflows.demo import new_folder, story_end

    place = new_folder(folder)
    os.chdir(place)
    for sentence, command in _STORY:
        _tell(sentence, command.split())
    end = story_end()
    for _ in range(_MOST_LOOKS - 1):
        if end.winner:
            break
        _tell("It is too early to tell. Simulate more requests.", ["feedback"])
        _tell("Which is better now?", ["report"])
        end = story_end()
    if end.winner:
        _tell(f"The verdict names {end.winner}.", ["promote"])
    else:
        _say("The verdict names no winner yet, so nothing is promoted.")
    _tell("What was live when, and why?", ["history"])
    out = console()
    mlops = program()
    out.print(f"\n[bold green]Done.[/] The shop serves at [bold]{end.url}[/] until you stop it.")
    out.print("Look around:\n")
    for line in (
        f"cd {shlex.quote(str(place))}",
        end.curl,
        f"open {end.url}/ui",
        f"open {end.url}/report",
        f"open {end.url}/docs",
        f"open {end.url}/metrics",
        f"{mlops} report",
        f"{mlops} status",
        f"{mlops} rollback {end.name}",
        f"{mlops} stop {end.name}",
    ):
        out.print(f"  {line}", markup=False, soft_wrap=True)


def _tell(sentence: str, words: Sequence[str]) -> None:
    """Say what comes, show the command as a user would type it, and run it."""
    from mlops.commands.app import program

    _say(sentence)
    console(stderr=True).print(f"[bold cyan]$ mlops {' '.join(words)}[/]")
    program(words[0])(list(words), standalone_mode=False, prog_name="mlops")


def _say(sentence: str) -> None:
    out = console(stderr=True)
    out.print()
    if sentence:
        out.print(f"[italic]{sentence}[/]")
