"""A report in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.commands import report_tables as tables
from mlops.commands.output import moment, next_steps, note

if TYPE_CHECKING:
    from rich.console import Console

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
_TITLES = {
    "promote": "a better arm was found",
    "keep": "the baseline stays best",
    "continue": "inconclusive, go on",
    "invalid": "invalid",
    "withheld": "decided, and not to be acted on",
    "equal": "no difference worth having",
    "not-worse": "no loss worth having",
}


def render_paired(out: Console, found: PairedReport) -> None:
    """Print the comparison on the same rows, as `--paired` shows it alone."""
    from rich.markup import escape

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
                f"{100 * (1 - each.alpha):.4g} % CI at every look together"
            )
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]")
    _render_verdict(out, found.verdict, found.decision_rule)
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

    from mlops.commands.forest_plot import forest

    span = (
        f"{moment(found.first_ms)} to {moment(found.last_ms)}" if found.first_ms else "no traffic"
    )
    revisions = ", ".join(str(number) for number in found.revisions)
    out.print(
        f"[bold]{found.name}[/]  revision {revisions}  reward {escape(found.reward)}\n"
        f"[dim]{span}[/]"
    )
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
    for comparison, looks in zip(found.comparisons, found.looks, strict=True):
        out.print(
            f"\n[bold]{escape(comparison.arm)} minus {escape(comparison.baseline)}[/] mean reward, "
            f"{100 * (1 - comparison.alpha):.4g} % CI at every look together",
            soft_wrap=False,
        )
        for line in forest(looks, out.width):
            out.print(line)
    if found.sample_ratio:
        state = "[red]mismatch[/]" if found.sample_ratio.mismatch else "[green]passed[/]"
        out.print(
            f"\nsample ratio (SRM) check: {state} [dim]p = {found.sample_ratio.p_value:.3g}[/]"
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
    for gate in found.gates:
        colour = "dim" if gate.passed else "red"
        p = "" if gate.p_value is None else f" p = {gate.p_value:.3g}"
        out.print(f"[{colour}]{escape(gate.text)}{p}[/]", soft_wrap=False)
    if found.judged_ms is not None:
        out.print(
            f"judged up to {moment(found.judged_ms)}; the feedback window of {found.open:,} "
            f"{tables.units(found)} is still open"
            if found.open
            else f"judged up to {moment(found.judged_ms)}",
            soft_wrap=False,
        )
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]", soft_wrap=False)
    _render_verdict(out, found.verdict, found.decision_rule, finished=found.finished is not None)
    _render_next(out, found, url, has_data=has_data)


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
    out: Console, verdict: Verdict, decision_rule: str, *, finished: bool = False
) -> None:
    from rich.markup import escape
    from rich.panel import Panel

    from mlops.rewards.decisions import describe_rule

    title = "the experiment is over" if finished else _TITLES[verdict.decision]
    winner = f": {escape(verdict.winner)}" if verdict.winner else ""
    head = f"finished[/], it was {verdict.decision}" if finished else f"{verdict.decision}[/]"
    rule = f"; decision rule {decision_rule}: {describe_rule(decision_rule)}" * bool(decision_rule)
    out.print(
        Panel(
            f"{escape(verdict.reason)}\n[dim]n = {verdict.n:,}, false winner at most "
            f"{verdict.alpha:.2g} however often you look\nmethod: {escape(verdict.method)}, "
            f"because {escape(verdict.because)}{rule}[/]"
            + "".join(f"\n{escape(text)}" for text in (verdict.weakest, *verdict.hints) if text),
            title=f"[bold]{head}{winner} ({title})",
            title_align="left",
            border_style="dim" if finished else _STYLES[verdict.decision],
            width=min(out.width, 100),
        ),
        soft_wrap=False,
    )
