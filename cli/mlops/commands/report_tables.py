"""The tables of a report in the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mlops.monitoring.arms import ArmReport
    from mlops.monitoring.report import Report
    from mlops.monitoring.shadows import ShadowReport

_BARS = "▁▂▃▄▅▆▇█"


def _table(*titles: str, caption: str | None = None, first: str = "arm") -> Table:
    from rich.table import Table

    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        caption=caption,
        caption_justify="left",
        min_width=min(len(caption or ""), 60),
    )
    table.add_column(first)
    for title in titles:
        table.add_column(title, justify="left" if title == "model" else "right")
    return table


def _name(arm: ArmReport) -> str:
    from rich.markup import escape

    return f"[bold]{escape(arm.name)}[/]"


def traffic(found: Report) -> Table:
    """Requests and errors of each arm."""
    from rich.markup import escape

    refused = any(arm.refused for arm in found.arms)
    titles = ["refused (4xx)"] * refused + ["errors (5xx)", "ms"]
    table = _table("model", "weight", "requests", "share", *titles)
    for arm in found.arms:
        table.add_row(
            _name(arm),
            escape(arm.version),
            f"{arm.weight * 100:.4g} %",
            f"{arm.requests:,}",
            f"{arm.share * 100:.1f} %",
            *[f"{arm.refused:,}"] * refused,
            f"{arm.errors:,}",
            _number(arm.latency_ms),
        )
    return table


def rewards(found: Report) -> Table:
    """Rewards: the plain mean, and the estimate with its interval."""
    level = f"{100 * (1 - found.arms[0].alpha):.4g} % CI"
    per = found.analysis.per
    made = "sum" if found.repeated == "sum" else "mean"
    what = f"a unit is one value of `{found.sticky_by}`; its reward is the {made} of its outcomes"
    if per:
        what = f"mean: the sum of an arm's rewards, divided by that of its {per}"
    elif not found.sticky_by:
        what = ""
    # The names of the field, and what they mean.
    meaning = "estimate (AIPW): the mean if the arm had answered every request"
    what = f"{meaning}; {what}" if what else meaning
    table = _table(units(found), "mean", "estimate (AIPW)", level, caption=what)
    for arm in found.arms:
        interval = _range(arm.lower, arm.upper)
        table.add_row(
            _name(arm),
            f"{arm.n:,}",
            _number(arm.mean),
            _number(arm.estimate),
            f"[dim]{arm.needs}[/]" if interval == "-" and arm.needs else interval,
        )
    return table


def units(found: Report) -> str:
    """What is counted, as a heading: requests with a reward, or what arms stick to."""
    return "units" if found.sticky_by else "with reward"


def posterior(found: Report) -> Table | None:
    """Bayesian numbers, which decide nothing; None where they were not computed."""
    if all(arm.p_best is None for arm in found.arms):
        return None
    table = _table(
        "P(best)", "expected loss", caption="Bayesian posterior; not a stopping rule"
    )  # fmt: skip
    # A caption is no wider than its table.
    table.min_width = 48
    for arm in found.arms:
        table.add_row(_name(arm), _number(arm.p_best), _number(arm.expected_loss))
    return table


def quality(found: Report) -> Table | None:
    """Quality against the truth, by applicable measures, in total and over time.

    None where the reward is not derived from labels and none came.
    """
    from mlops.monitoring.quality import measures_of
    from mlops.rewards import reward_called

    if not any(arm.quality.n for arm in found.arms) and not reward_called(found.reward).is_derived:
        return None
    measures = measures_of(arm.quality for arm in found.arms)
    over_time = [f"{measure.label} over time" for measure in measures[:1]]
    table = _table("labels", *(measure.label for measure in measures), *over_time)
    for index, arm in enumerate(found.arms):
        values = [_number(getattr(arm.quality, measure.field)) for measure in measures]
        trend = [_trend(found, index, measure.field) for measure in measures[:1]]
        table.add_row(_name(arm), f"{arm.quality.n:,}", *values, *trend)
    return table


def shadows(found: Report) -> Table:
    """Each shadow, and below it what was served to the same requests."""
    from rich.markup import escape

    from mlops.monitoring.quality import measures_of

    measures = measures_of(each.quality for each in found.shadows)[:2]
    same = "same class" if any(each.of_probabilities for each in found.shadows) else "same"
    rewarded = ["reward"] * any(each.rewarded for each in found.shadows)
    table = _table(
        "model", "copies", "dropped", same, "difference", "errors", "ms", *rewarded,
        *(each.label for each in measures),
        caption="shadows: their answers are not returned, and decide nothing", first="shadow",
    )  # fmt: skip
    for each in found.shadows:
        same = "-" if each.agreement is None else f"{each.agreement * 100:.4g} %"
        reward = [_number(each.reward)] * len(rewarded)
        values = [_number(getattr(each.quality, measure.field)) for measure in measures]
        table.add_row(
            f"[bold]{escape(each.name)}[/]",
            escape(each.version),
            f"{each.requests:,}",
            _dropped(each),
            same,
            _number(each.difference),
            f"{each.errors:,}",
            _number(each.latency_ms),
            *reward,
            *values,
        )
        reward = [_number(each.served_reward)] * len(rewarded)
        values = [_number(getattr(each.served_quality, measure.field)) for measure in measures]
        latency = _number(each.served_latency_ms)
        served = ["  served", "", "", "", "", "", f"{each.served_errors:,}", latency]
        row = [*served, *reward, *values]
        table.add_row(*(f"[dim]{cell}[/]" if cell else "" for cell in row))
    return table


def _dropped(shadow: ShadowReport) -> str:
    """Show how many copies a shadow was too slow for, and which share of all that is."""
    if not shadow.dropped:
        return "0"
    return f"{shadow.dropped:,} ({shadow.dropped / (shadow.dropped + shadow.requests):.0%})"


def silent(found: Report) -> Table:
    """What requests without feedback could hide."""
    from rich.markup import escape

    ends = found.silent[0]
    table = _table(
        "answered", "answer anyway (Lee)", "worst case (Manski)",
        caption="The difference if requests without feedback are counted; answered: weighted by "
        "the probabilities of the arms where these have changed. Worst case: they may "
        f"have earned anything from {_number(ends.lowest)} to {_number(ends.highest)}"
        f"{'' if ends.declared else ', the extremes seen'}. Answer anyway: requests that would "
        "have feedback under either arm, if an arm only adds answers, or only removes some.",
        first="difference",
    )  # fmt: skip
    for each in found.silent:
        table.add_row(
            escape(f"{each.arm} - {each.baseline}"),
            f"{100 * each.answered:.3g} %, {100 * each.baseline_answered:.3g} %",
            "-" if each.lee is None else _range(*each.lee),
            _range(*each.manski),
        )
    return table


def segments(found: Report) -> Table:
    """Segments, those that differ most first."""
    from rich.markup import escape

    table = _table(
        "arm", units(found), "difference", "CI of it alone", "",
        caption="listed, never a verdict; of all marked * at most a tenth differs by chance",
        first="segment",
    )  # fmt: skip
    for each in found.segments:
        table.add_row(
            escape(each.segment),
            escape(each.arm),
            f"{each.n:,}",
            _number(each.estimate),
            _range(each.lower, each.upper),
            "[bold]*[/]" if each.stands_out else "",
        )
    return table


def _trend(found: Report, arm: int, measure: str) -> str:
    """Draw one bar per window; all arms share a scale."""
    windows = [[getattr(each, measure) for each in window.arms] for window in found.quality]
    known = [value for values in windows for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(_bar(values[arm], low, high) for values in windows)


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    share = (value - low) / (high - low) if high > low else 0.5
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]


def _number(value: float | None) -> str:
    """Write a number with four digits, in one way everywhere."""
    from mlops.monitoring.figures import number

    if value is None or not math.isfinite(value):
        return "-"
    return number(value, digits=4).replace("\N{MINUS SIGN}", "-")


def _range(lower: float, upper: float) -> str:
    known = math.isfinite(lower) and math.isfinite(upper)
    return f"{_number(lower)} … {_number(upper)}" if known else "-"
