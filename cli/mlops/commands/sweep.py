"""How a sweep is shown: while it runs, and its result."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops.commands.output import clock, next_steps, note, plain_table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

    from mlops.training.sweep import Board, SweepResult, TrialRecord

_STYLES = {
    "running": "cyan",
    "complete": "green",
    "pruned": "yellow",
    "failed": "red",
    "interrupted": "yellow",
}
#: Rows of the table that moves, and of the one that stays.
_LIVE_ROWS = 12
_FINAL_ROWS = 40


class BoardView:
    """Shows the state of a sweep: a table that moves on a terminal, a line per result elsewhere.

    Args:
        console: Where to.
        live: Whether it is a terminal.
        start: When the command began, on the monotonic clock.
    """

    def __init__(self, console: Console, *, live: bool, start: float) -> None:
        self._console = console
        self._live: Live | None = None
        self._wanted = live
        self._board: Board | None = None
        self._start = start

    def __rich__(self) -> RenderableType:
        """Draw it again, as time passes."""
        from rich.console import Group

        assert self._board is not None
        elapsed = time.monotonic() - self._start
        table = trial_table(
            _on_top(self._board, _LIVE_ROWS), self._board.spec.metric, self._board.best
        )
        return Group(f"{elapsed:.0f} s  {_summary(self._board)}", table)

    def show(self, board: Board) -> None:
        """Show the newest state."""
        self._board = board
        if not self._wanted:
            if board.changed is not None:
                self._console.print(f"{clock()}  {_line(board, board.changed)}", markup=False)
            return
        if self._live is None:
            from rich.live import Live

            self._live = Live(self, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def stop(self) -> None:
        """Leave the terminal as it was; the result is printed after."""
        if self._live is not None:
            self._live.stop()


def render_sweep(out: Console, found: SweepResult) -> None:
    """Print the result of a sweep, the best first."""
    from rich.markup import escape

    out.print(
        f"[bold]{escape(found.sampler)} sweep[/]  {found.run_id}  in {escape(found.experiment)}"
    )
    shown = _ranked(found.trials, found)
    out.print(trial_table(shown[:_FINAL_ROWS], found.metric, found.best), soft_wrap=False)
    if len(shown) > _FINAL_ROWS:
        out.print(f"[dim]and {len(shown) - _FINAL_ROWS} more: --json, --html, or MLflow[/]")
    failures = [trial for trial in found.trials if trial.state == "failed"]
    for trial in failures[:3]:
        note(f"[red]failed[/] {escape(trial.name)}  {escape(trial.note)}")
    if found.best is not None:
        value = f"{found.metric} {found.best.value:.6g}"
        out.print(f"best [bold green]{escape(found.best.name)}[/]  {escape(value)}")
    if found.model is not None:
        alias = f" [cyan]@{escape(found.alias)}[/]" if found.alias else ""
        out.print(f"[bold green]{escape(found.model.label)}[/]{alias}")
    if found.html is not None:
        out.print(str(found.html), markup=False, soft_wrap=True)
    next_steps(out, found.next_commands)


def trial_table(trials: Sequence[TrialRecord], metric: str, best: TrialRecord | None) -> Table:
    """Return a table of trials: their points, and the metric, or all metrics if there is none."""
    from rich.markup import escape

    metrics = [metric] if metric else sorted({m for t in trials for m in t.metrics})[:4]
    names = list(dict.fromkeys(name for trial in trials for name in trial.point))
    table = plain_table()
    table.add_column("trial", justify="right")
    for name in names:
        table.add_column(escape(name), justify="right", overflow="fold")
    for name in metrics:
        table.add_column(escape(name), justify="right")
    table.add_column("s", justify="right")
    table.add_column("state", no_wrap=True)
    for trial in trials:
        mark = " [bold green]best[/]" if best is not None and trial.number == best.number else ""
        table.add_row(
            str(trial.number),
            *(escape(trial.point.get(name, "")) for name in names),
            *(_number(trial.metrics.get(name)) for name in metrics),
            "" if trial.duration_s is None else f"{trial.duration_s:.1f}",
            f"[{_STYLES[trial.state]}]{trial.state}[/]{mark}",
        )
    return table


def _ranked(trials: Sequence[TrialRecord], found: SweepResult) -> list[TrialRecord]:
    """Order trials: those with a value by it, then the others."""
    if not found.metric:
        return list(trials)
    sign = 1 if found.direction == "minimize" else -1
    return sorted(
        trials,
        key=lambda t: (
            t.state != "complete",
            sign * t.value if t.value is not None and math.isfinite(t.value) else math.inf,
        ),
    )


def _on_top(board: Board, rows: int) -> list[TrialRecord]:
    """Return what is worth looking at: what runs, the best, and what ended last."""
    running = [trial for trial in board.trials if trial.state == "running"]
    done = [trial for trial in board.trials if trial.state != "running"]
    best = [] if board.best is None else [board.best]
    latest = [trial for trial in reversed(done) if trial not in best]
    return [*best, *running, *latest][:rows]


def _summary(board: Board) -> str:
    counts: dict[str, int] = {}
    for trial in board.trials:
        counts[trial.state] = counts.get(trial.state, 0) + 1
    done = sum(count for state, count in counts.items() if state != "running")
    parts = [f"{done} of {board.spec.trials} done"]
    parts += [
        f"[{_STYLES[state]}]{counts[state]} {state}[/]"
        for state in ("running", "pruned", "failed")
        if state in counts
    ]
    return ", ".join(parts)


def _line(board: Board, trial: TrialRecord) -> str:
    metric = board.spec.metric
    value = f"  {metric} {_number(trial.value)}" if metric and trial.value is not None else ""
    state = "" if trial.state == "complete" else f"  {trial.state}"
    reason = f" ({trial.note})" if trial.note else ""
    best = "  best so far" if board.best is trial else ""
    return f"{trial.number}/{board.spec.trials}  {trial.name}{value}{state}{reason}{best}"


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.6g}"
