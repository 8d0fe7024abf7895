"""`mlops feedback`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.commands import completion
from mlops.commands.arguments import Name, Remote, takes_remote
from mlops.commands.output import Json, next_steps, note, plain, show
from mlops.errors import InvalidInputError, MlopsError, UsageError
from mlops.rewards.kinds import reads_as_number

if TYPE_CHECKING:
    from collections import Counter

    from rich.console import Console

    from mlops.client.outcome_files import FeedbackData
    from mlops.client.remote_endpoint import RemoteServer
    from mlops.commands.progress import CountProgress
    from mlops.workflows.remote_feedback import SeldonTerms
    from mlops.workflows.replay import ReplayResult

_PLAY = "Replay labelled data (the default)"
_ONE = "One request"
_SELDON = "Seldon Core v1"
# Of a stream, so many refusals are shown one by one.
_SHOWN = 10


@takes_remote(foreign=True)
def feedback(
    name: Name = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="FILE|-",
            help="Labelled rows to replay as requests; or outcomes, a table with request_id or "
            "NDJSON, also on standard input.",
            show_default=False,
            rich_help_panel=_PLAY,
        ),
    ] = "",
    truth_column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column with the label; repeat it for a model with several outputs.",
            show_default=False,
            rich_help_panel=_PLAY,
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Send each row once, without random draws.", rich_help_panel=_PLAY
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of requests.", rich_help_panel=_PLAY)
    ] = None,
    skip: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of rows to skip, sent before an interruption.",
            rich_help_panel=_PLAY,
        ),
    ] = 0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Maximum number of requests per second.", rich_help_panel=_PLAY
        ),
    ] = None,
    without_reward: Annotated[
        bool,
        typer.Option(
            "--without-reward",
            help="Replay also where the reward is `given` and no label has one.",
            rich_help_panel=_PLAY,
        ),
    ] = False,
    request_id: Annotated[
        str,
        typer.Option(
            help="X-Mlops-Request-Id of a prediction.", show_default=False, rich_help_panel=_ONE
        ),
    ] = "",
    reward: Annotated[
        str,
        typer.Option(
            autocompletion=completion.rewards,
            help="Reward of the request, higher is better; or, for labelled data, the name of "
            "the reward.",
            show_default=False,
        ),
    ] = "",
    truth: Annotated[
        str,
        typer.Option(
            help="Label of the request: the true value; a JSON list has one for each row, or for "
            "each output.",
            show_default=False,
            rich_help_panel=_ONE,
        ),
    ] = "",
    row: Annotated[
        int | None,
        typer.Option(min=0, help="Row of the request, from 0.", rich_help_panel=_ONE),
    ] = None,
    response: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="File with the response that --reward or --truth is about.",
            show_default=False,
            rich_help_panel=_SELDON,
        ),
    ] = "",
    shift: Annotated[
        float, typer.Option(help="Number to add to every reward.", rich_help_panel=_SELDON)
    ] = 0.0,
    one_model: Annotated[
        bool,
        typer.Option(
            "--one-model",
            help="Single model; routing information not required.",
            rich_help_panel=_SELDON,
        ),
    ] = False,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Send labels or rewards of earlier predictions, now or days later; or replay labelled data.

    For example `mlops feedback --request-id ID --truth 6.0`, or
    `mlops feedback --data labelled.csv --truth-column quality`.
    """
    from mlops.client.outcome_files import open_data
    from mlops.settings import load_settings
    from mlops.workflows.remote_feedback import SeldonTerms

    _check_one(request_id or response, reward, truth, row)
    terms, columns = SeldonTerms(shift, one_model), tuple(truth_column or ())
    if remote is None and (response or terms != SeldonTerms()):
        raise UsageError(
            "`--response`, `--shift` and `--one-model` are for Seldon v1, behind a URL.",
            hint="`--url http://HOST/seldon/NAMESPACE/NAME`",
        )
    if response and remote:
        _send_saved(remote, response, row, reward, truth, terms, as_json)
    elif request_id:
        _send_one(name, remote, request_id, row, reward, truth, as_json)
    else:
        with open_data(data, columns) as opened:
            if opened.has_outcomes:
                _send_stream(name, remote, opened, reward, terms, as_json)
                return
        from mlops.workflows.replay import ReplayRequest

        settings = load_settings(flags={"feedback.reward": reward or None})
        request = ReplayRequest(data, columns, once, limit, skip, rate, remote, terms)
        request = replace(request, unrewarded=without_reward, warn=_warn, content=opened.content)
        _play(settings, name, request, as_json)


def _check_one(which: str, reward: str, truth: str, row: int | None) -> None:
    """Refuse what would be ignored, and empty feedback."""
    if which and not reward and not truth:
        raise UsageError(
            "How good was the answer to this request?", hint="`--truth VALUE` or `--reward NUMBER`"
        )
    if not which and (truth or row is not None or reads_as_number(reward)):
        raise UsageError(
            "Which request is this about?", hint="`--request-id` as the prediction gave it"
        )


def _warn(text: str) -> None:
    from rich.markup import escape

    note(f"[yellow]note:[/] {escape(text)}")


@dataclass(slots=True)
class _SoFar:
    """What was sent so far, shown after an interruption."""

    first: int = 0
    again: str = ""
    visits: int = 0
    total: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def update(
        self, progress: CountProgress, visits: int, counts: Mapping[str, int], total: int | None
    ) -> None:
        self.visits, self.counts, self.total = visits, dict(counts), total
        progress.update(visits, total)

    def words(self) -> str:
        if not self.visits:
            return "Nothing was sent."
        of = f" of {self.total:,}" if self.total else ""
        fates = ", ".join(f"{fate} {count:,}" for fate, count in sorted(self.counts.items()))
        again = self.again or f"`--skip {self.first + self.visits}` goes on after them"
        return f"{self.visits:,}{of} were sent: {fates or 'none stored'}. They stay; {again}."


def _play(settings: Any, name: str | None, request: Any, as_json: bool) -> None:  # noqa: ANN401 - named in the caller
    from mlops.commands.interrupts import telling
    from mlops.commands.progress import CountProgress
    from mlops.workflows.replay import replay_file

    sent = _SoFar(first=request.skip)

    with CountProgress("requests") as progress, telling(sent.words):
        try:
            played = replay_file(
                settings,
                name,
                request,
                lambda tally, total: sent.update(progress, tally.visits, tally.counts, total),
            )
        except MlopsError as error:
            error.message += f" {sent.words()}" if sent.visits else ""
            raise
    document = {**plain(played), "label": played.label}
    show(document, as_json=as_json, render=lambda out: _render_played(out, played))
    _end(played.counts)


def _send_one(
    name: str | None,
    remote: RemoteServer | None,
    request_id: str,
    row: int | None,
    reward: str,
    truth: str,
    as_json: bool,
) -> None:
    from rich.markup import escape

    from mlops.settings import load_settings
    from mlops.workflows.remote_feedback import send_remote_outcome
    from mlops.workflows.replay import send_outcome

    said: dict[str, Any] = {"row": row, "reward": _number(reward), "truth": truth or None}
    answer = (
        send_remote_outcome(remote, request_id, **said)
        if remote
        else send_outcome(load_settings(), name, request_id, **said)
    )
    for text in answer.get("warnings", ()):
        _warn(text)
    show(answer, as_json=as_json, render=lambda out: _render_one(out, answer))
    for problem in answer.get("problems", ())[:_SHOWN]:
        words = escape(f"{problem['fate']}: {problem['error']}")
        note(f"[red]value {problem['index'] + 1}:[/] {words}")
    _end(answer["counts"])


def _send_saved(
    remote: RemoteServer,
    file: str,
    row: int | None,
    reward: str,
    truth: str,
    terms: SeldonTerms,
    as_json: bool,
) -> None:
    from mlops.settings import load_settings
    from mlops.workflows.remote_feedback import send_saved_outcome

    if row is not None:
        raise UsageError(
            "Seldon v1 takes one reward for the whole request, not for a row of it.",
            hint="`--truth '[5, 6]'` has the truth of every row.",
        )
    named = reward if reward and not reads_as_number(reward) else None
    counts = send_saved_outcome(
        load_settings(flags={"feedback.reward": named}),
        remote,
        file,
        reward=None if named else _number(reward),
        truth=truth or None,
        terms=terms,
        warn=_warn,
    )
    show({"counts": counts}, as_json=as_json, render=lambda out: _render_counts(out, counts))


def _send_stream(
    name: str | None,
    remote: RemoteServer | None,
    opened: FeedbackData,
    reward: str,
    terms: SeldonTerms,
    as_json: bool,
) -> None:
    from mlops.commands.interrupts import telling
    from mlops.commands.progress import CountProgress
    from mlops.settings import load_settings
    from mlops.workflows.remote_feedback import send_remote_stream
    from mlops.workflows.replay import send_stream

    so_far = _SoFar(again="the same command goes on, and lines that were stored count once")

    def update(total: Counter[str]) -> None:
        so_far.update(progress, sum(total.values()), total, None)

    from rich.markup import escape

    settings = load_settings(flags={"feedback.reward": reward or None})
    lines = opened.lines(_warn)
    with (
        CountProgress("outcomes") as progress,
        telling(so_far.words),
    ):
        sent = (
            send_remote_stream(settings, remote, lines, terms, _warn, update)
            if remote
            else send_stream(settings, name, lines, update)
        )
    document = {
        "counts": dict(sent.counts),
        "problems": plain(sent.problems),
        "warnings": list(sent.warnings),
        "unknown_labels": sent.unknown_labels,
        "after_window": sent.after_window,
    }
    if sent.unknown_labels > 1:
        _warn(f"{sent.unknown_labels:,} labels are none of the classes of the models:")
    for text in sent.warnings:
        _warn(text)
    late = sent.after_window
    show(document, as_json=as_json, render=lambda out: _render_counts(out, sent.counts, late))
    for problem in sent.problems[:_SHOWN]:
        note(f"[red]line {problem.line}:[/] {problem.status}: {escape(problem.error)}")
    if len(sent.problems) > _SHOWN:
        note(f"and {len(sent.problems) - _SHOWN:,} more; `--json` names every line.")
    _end(sent.counts)


def _end(counts: Mapping[str, int]) -> None:
    """Let the exit code say that something was not stored."""
    from mlops.client.outcomes import refused

    if refused(counts):
        number = refused(counts)
        were = "1 outcome was" if number == 1 else f"{number:,} outcomes were"
        note(f"[bold red]error:[/] {were} refused and not stored.")
        raise typer.Exit(InvalidInputError.exit_code)


def _number(text: str) -> float | None:
    if not text:
        return None
    if not reads_as_number(text) or not math.isfinite(float(text)):
        raise UsageError(
            f"`--reward {text}` is not a finite number.",
            hint="A reward is a number, higher is better.",
        )
    return float(text)


def _render_played(out: Console, played: ReplayResult) -> None:
    speed = played.visits / played.seconds if played.seconds else 0.0
    out.print(
        f"[bold]{played.visits:,}[/] requests to [bold]{played.name}[/] in {played.seconds:.1f} s "
        f"({speed:,.0f}/s)  [yellow]{played.label}[/]"
    )
    if played.refused:
        out.print(f"[yellow]{played.refused:,}[/] were refused by their model; see the report")
    _render_counts(out, played.counts)
    next_steps(out, [f"mlops report {played.deployment}"] if played.deployment else [])


def _render_counts(out: Console, counts: Mapping[str, int], after_window: int = 0) -> None:
    # The words of `--json` and of the documentation, which explains them.
    words = [f"{fate} {count:,}" for fate, count in sorted(counts.items())]
    out.print("feedback: " + (", ".join(words) or "none"))
    if after_window:
        who = "1 of them does" if after_window == 1 else f"{after_window:,} of them do"
        out.print(f"[yellow]{who} not count:[/] after the feedback window")


def _render_one(out: Console, answer: Mapping[str, Any]) -> None:
    outcome, after_window = answer.get("outcome"), answer.get("after_window", 0)
    if outcome is None:
        # Several values, or a refusal: there is no one arm to name.
        _render_counts(out, answer["counts"], after_window)
        return
    late = ", late" if outcome.get("late") else ""
    late += ", [yellow]does not count:[/] after the feedback window" if after_window else ""
    out.print(
        f"{outcome.get('fate')}: arm [bold]{outcome.get('arm')}[/], "
        f"revision {outcome.get('revision')}{late}"
    )
