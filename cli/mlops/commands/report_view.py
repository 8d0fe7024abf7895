"""A report in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.commands import report_tables as tables
from mlops.commands.output import moment, next_steps, note
from mlops.monitoring.methods import ASYMPTOTIC, BOUNDED, PLANNED

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.monitoring.arm_lines import ArmLines
    from mlops.monitoring.paired import PairedReport
    from mlops.monitoring.report import Report
    from mlops.monitoring.verdict import Verdict

_STYLES = {
    "promote": "green",
    "keep": "green",
    "equal": "green",
    "not-worse": "green",
    "continue": "yellow",
    "withheld": "red",
    "invalid": "red",
}
# What a method does, for readers who do not know its name.
_IN_WORDS = {
    BOUNDED: " By betting: a difference is left out of the interval once bets against it would "
    "have won so much that chance is no explanation.",
    ASYMPTOTIC: " Asymptotic: it relies on averages of many outcomes, and waits until an arm has "
    "enough of them (the burn-in).",
    PLANNED: " Most of the error probability is spent at the planned end, and little before.",
}
# From so many comparisons on, only the newest look at each is drawn.
_SEVERAL = 3
_TITLES = {
    "promote": "a better arm was found",
    "keep": "the baseline stays best",
    "continue": "not decided yet",
    "invalid": "the split of the traffic is broken",
    "withheld": "decided, and not to be acted on",
    "equal": "no difference worth having",
    "not-worse": "no loss worth having",
}


def render_paired(out: Console, found: PairedReport) -> None:
    """Print the comparison on the same rows, as `--paired` shows it alone."""
    from rich.markup import escape

    from mlops.monitoring.arm_lines import LABELLED, arm_lines

    out.print(
        f"[bold]{found.name}[/]  every arm on the same {found.rows:,} rows  "
        f"reward {escape(found.reward)}"
    )
    for arm, mean in zip(found.arms, found.means, strict=True):
        out.print(f"  {escape(arm)}  mean reward {mean:.4g}")
    for each in found.comparisons:
        line = f"{escape(each.arm)} minus {escape(each.baseline)}: {each.estimate:+.4g}"
        if each.waiting_for:
            out.print(f"{line}  [yellow]too early: {escape(each.waiting_for)}[/]")
        else:
            style = "green" if each.lower > 0 else "red" if each.upper < 0 else "yellow"
            out.print(
                f"[{style}]{line} [{each.lower:+.4g}, {each.upper:+.4g}][/]  n = {each.n:,}, "
                f"{100 * (1 - each.alpha):.4g} % CI, however often you look"
            )
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]")
    withheld = found.verdict.decision == "withheld"
    lines = arm_lines(found.comparisons, LABELLED, withheld=withheld)
    _render_verdict(out, found.verdict, lines=lines)
    _render_method(out, found.verdict, LABELLED, found.decision_rule)
    out.print(
        "[dim]This compares predictions on rows whose truth is known, not what people do when "
        "they get one or the other.[/]"
    )
    winner = found.verdict.winner
    if winner:
        why = f"predicts better on {found.rows} rows"
        next_steps(
            out,
            [
                f"mlops report {found.name}",
                f'mlops promote {found.name} --arm {winner} --force "{why}"',
            ],
        )
    elif found.verdict.decision == "continue":
        next_steps(out, [f"mlops feedback {found.name}"])


def _render_pairs(out: Console, paired: PairedReport) -> None:
    """The comparison on the same rows, as a part of the report."""
    from rich.markup import escape

    out.print(f"[bold]every arm on the same {paired.rows:,} labelled rows[/]")
    for each in paired.comparisons:
        line = f"{escape(each.arm)} minus {escape(each.baseline)}: {each.estimate:+.4g}"
        if each.waiting_for:
            out.print(f"  {line}  [dim]{escape(each.waiting_for)}[/]", soft_wrap=False)
        else:
            style = "green" if each.lower > 0 else "red" if each.upper < 0 else "yellow"
            out.print(
                f"  [{style}]{line} [{each.lower:+.4g}, {each.upper:+.4g}][/]  n = {each.n:,}, "
                f"{100 * (1 - each.alpha):.4g} % CI",
                soft_wrap=False,
            )
    if paired.verdict.decision == "withheld":
        out.print(f"  [red]{escape(paired.verdict.reason)}[/]", soft_wrap=False)


def render(out: Console, found: Report, html: str, url: str, *, has_data: bool) -> None:
    """Print a report.

    Args:
        out: Where to.
        found: The report.
        html: The page that was written instead, if any.
        url: The server that was asked, for the next command.
        has_data: Whether `mlops feedback` has data to replay.
    """
    from rich.markup import escape

    if html:
        note(f"{found.verdict.decision}: {escape(found.verdict.reason)}")
        if html != "-":
            out.print(html, markup=False, soft_wrap=True)
        return

    from mlops.monitoring.verdict_text import counted, lines_of

    span = (
        f"{moment(found.first_ms)} to {moment(found.last_ms)}" if found.first_ms else "no traffic"
    )
    revisions = ", ".join(str(number) for number in found.revisions)
    out.print(
        f"[bold]{found.name}[/]  revision {revisions}  reward {escape(found.reward)}\n"
        f"[dim]{span}[/]\n"
    )
    _render_verdict(
        out, found.verdict, finished=found.finished is not None, lines=lines_of(found),
        alone=not found.comparisons,
    )  # fmt: skip
    shown = (
        tables.traffic(found),
        tables.rewards(found),
        tables.quality(found),
        tables.posterior(found),
    )
    for table in filter(None, shown):
        out.print()
        # Where it is narrow cells are folded; a soft wrap would cut them off.
        out.print(table, soft_wrap=False)
    if found.shadows:
        out.print()
        out.print(tables.shadows(found), soft_wrap=False)
    _render_development(out, found)
    if found.sample_ratio:
        state = "[red]mismatch[/]" if found.sample_ratio.mismatch else "[green]passed[/]"
        out.print(
            f"\nsample ratio (SRM) check: {state} [dim]p = {found.sample_ratio.p_value:.3g}, the "
            "smallest so far[/]",
            soft_wrap=False,
        )
    if found.paired is not None:
        out.print()
        _render_pairs(out, found.paired)
    if found.silent:
        out.print()
        out.print(tables.silent(found), soft_wrap=False)
    if found.segments:
        out.print()
        out.print(tables.segments(found), soft_wrap=False)
    if found.silent or found.segments:
        out.print()
    for gate in found.gates:
        colour = "dim" if gate.passed else "red"
        p = "" if gate.p_value is None else f" p = {gate.p_value:.3g}"
        out.print(f"[{colour}]{escape(gate.text)}{p}[/]", soft_wrap=False)
    if found.judged_ms is not None:
        out.print(
            f"judged up to {moment(found.judged_ms)}; the feedback window of {found.open:,} "
            f"{'sticky units' if found.sticky_by else 'requests'} is still open"
            if found.open
            else f"judged up to {moment(found.judged_ms)}",
            soft_wrap=False,
        )
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]", soft_wrap=False)
    if found.comparisons:
        _render_method(out, found.verdict, counted(found), found.decision_rule)
    _render_end(out, found)
    _render_next(out, found, url, has_data=has_data)


def _render_development(out: Console, found: Report) -> None:
    """Draw how the differences developed; of each of many what is known now, on one scale."""
    from rich.markup import escape

    from mlops.commands.forest_plot import forest, newest

    pairs = list(zip(found.comparisons, found.looks, strict=True))
    if not pairs:
        return
    level = f"{100 * (1 - pairs[0][0].alpha):.4g} % CI, however often you look"
    if len(pairs) >= _SEVERAL:
        base = escape(pairs[0][0].baseline)
        out.print(f"\n[bold]mean reward minus that of {base}[/], {level}", soft_wrap=False)
        for line in newest({c.arm: looks for c, looks in pairs}, out.width):
            out.print(line)
        return
    for each, looks in pairs:
        out.print(
            f"\n[bold]{escape(each.arm)} minus {escape(each.baseline)}[/] mean reward, {level}",
            soft_wrap=False,
        )
        for line in forest(looks, out.width):
            out.print(line)


def _render_next(out: Console, found: Report, url: str, *, has_data: bool) -> None:
    from rich.markup import escape

    from mlops.rewards.sending import can_replay, feedback_commands

    if found.finished:
        next_steps(out, [f"mlops status {found.name}", f"mlops history {found.name}"])
        out.print(
            f"      the next test: mlops deploy --ab {escape(found.finished.model)} MODEL",
            soft_wrap=True,
        )
    elif found.verdict.winner:
        # The winner of `keep` is the baseline: named, for it not to sound like the challenger.
        arm = f" --arm {found.verdict.winner}" if found.verdict.decision == "keep" else ""
        next_steps(out, [f"mlops promote {found.name}{f' --url {url}' if url else ''}{arm}"])
    elif (
        found.verdict.decision == "continue"
        and len(found.arms) > 1
        and (has_data or not can_replay(found.reward))
    ):
        next_steps(out, feedback_commands(found.reward, f"--url {url}" if url else found.name))


def _render_verdict(
    out: Console,
    verdict: Verdict,
    *,
    finished: bool = False,
    lines: ArmLines | None = None,
    alone: bool = False,
) -> None:
    """Say what was found, before all else.

    Args:
        out: Where to.
        verdict: The verdict.
        finished: Whether the experiment is over.
        lines: One for each of several arms.
        alone: Whether there is one arm only.
    """
    from rich.markup import escape
    from rich.panel import Panel

    title = "the experiment is over" if finished else _TITLES[verdict.decision]
    title = "one arm" if alone and not finished else title
    winner = f": {escape(verdict.winner)}" if verdict.winner else ""
    head = f"finished[/], it was {verdict.decision}" if finished else f"{verdict.decision}[/]"
    parts = [verdict.reason]
    if lines and lines.lines:
        parts += ["", lines.heading, *lines.lines]
    parts += [text for text in (verdict.weakest, *verdict.hints) if text]
    out.print(
        Panel(
            "\n".join(escape(text) for text in parts),
            title=f"[bold]{head}{winner} ({title})",
            title_align="left",
            border_style="dim" if finished else _STYLES[verdict.decision],
            width=min(out.width, 100),
        ),
        soft_wrap=False,
    )


def _render_method(out: Console, verdict: Verdict, units: str, decision_rule: str) -> None:
    """Say how sure the verdict is, and by which method, for those who want to know."""
    from rich.markup import escape

    from mlops.rewards.decisions import describe_rule

    rule = f"; decision rule {decision_rule}: {describe_rule(decision_rule)}" * bool(decision_rule)
    out.print(
        f"\n[dim]n = {verdict.n:,} {units}. Of tests between arms that are equal, at most "
        f"{100 * verdict.alpha:.3g} % ever name a winner, however often you look.\n"
        f"method: {escape(verdict.method)}, because {escape(verdict.because)}{rule}."
        f"{_IN_WORDS.get(verdict.method, '')}[/]",
        soft_wrap=False,
    )


def _render_end(out: Console, found: Report) -> None:
    """Repeat the verdict in a line: the first lines of a long report are out of sight."""
    verdict = found.verdict
    if not found.comparisons or found.finished:
        return
    from rich.markup import escape

    winner = f" {escape(verdict.winner)}" if verdict.winner else ""
    out.print(
        f"[bold {_STYLES[verdict.decision]}]{verdict.decision}{winner}[/]: "
        f"{_TITLES[verdict.decision]}; the reason is at the top",
        soft_wrap=False,
    )
