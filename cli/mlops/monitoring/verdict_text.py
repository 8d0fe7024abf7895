"""The verdict in plain language, for readers who did not plan the test. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mlops.monitoring.arm_lines import LABELLED, ArmLines, arm_lines, rewarded
from mlops.monitoring.evidence import Finished
from mlops.monitoring.figures import number, per_cent
from mlops.monitoring.gates import Gate
from mlops.monitoring.report import Report
from mlops.monitoring.split_words import STAYS, WHERE_TO_LOOK, counts_text
from mlops.monitoring.verdict import Comparison, forecast, is_known, leading
from mlops.rewards import reward_called
from mlops.rewards.sending import can_replay, feedback_commands

# Smaller p-values say no more to readers.
_SMALLEST = 1e-4


@dataclass(frozen=True, slots=True)
class Words:
    """A verdict in plain sentences; names are in backticks.

    Attributes:
        headline: What to do.
        why: What was found.
        sure: The confidence; empty if nothing was found.
        then: What to do next.
        command: A command that does it; empty if there is none.
        about: The comparison that decided, or is nearest to deciding; None if there is none yet.
        arms: With several comparisons a line for each, the leading arm first.
        counted: What the verdict counts, in the plural.
    """

    headline: str
    why: str
    sure: str
    then: str
    command: str
    about: Comparison | None = None
    arms: ArmLines = field(default_factory=ArmLines)
    counted: str = ""


def in_words(report: Report, unit: str = "request") -> Words:
    """Say a verdict in words.

    Args:
        report: With the verdict.
        unit: What statistics count: `request`, or what the deployment is sticky by.
    """
    if report.finished is not None:
        words = _over(report, report.finished, unit)
    else:
        words = _WORDS_OF.get(report.verdict.decision, _continue)(report, unit)
    return replace(words, arms=lines_of(report), counted=counted(report))


def counted(report: Report) -> str:
    """Name what the verdict counts, in the plural."""
    return LABELLED if _is_paired(report) else rewarded(report.sticky_by)


def lines_of(report: Report) -> ArmLines:
    """Say of each of several arms how it compares; none where that cannot be read, or is over."""
    if report.finished is not None or report.verdict.decision == "invalid":
        return ArmLines()
    withheld = report.verdict.decision == "withheld"
    return arm_lines(_compared(report), counted(report), withheld=withheld)


def reward_in_words(reward: str) -> str:
    """Say what a reward is."""
    return reward_called(reward).meaning


def _promote(report: Report, unit: str) -> Words:
    winner, deciding = report.verdict.winner, _deciding(report)
    better = sum(c.lower > 0 for c in _compared(report))
    why = _gain(report, deciding.estimate, f"`{deciding.baseline}`", unit)
    if better > 1:
        why += f" {better} arms beat it; this one has the highest estimate, which need not be best."
    return Words(
        f"Promote `{winner}`",
        why,
        _sure(report),
        "This gives it all traffic and the alias `champion`, and can be rolled back:",
        f"mlops promote {report.name}",
        deciding,
    )


def _keep(report: Report, unit: str) -> Words:
    winner, nearest = report.verdict.winner, _deciding(report)
    others = len(report.comparisons)
    against = f"`{nearest.arm}`" + (f", the nearest of {others}" if others > 1 else "")
    return Words(
        f"Keep `{winner}`",
        _gain(report, -nearest.estimate, against, unit),
        _sure(report),
        "This ends the test and gives the baseline all traffic again:",
        f"mlops promote {report.name}",
        nearest,
    )


def _withheld(report: Report, unit: str) -> Words:
    shut = [gate for gate in report.gates if not gate.passed]
    decided = "The comparison below is decided"
    if any(gate.name in ("feedback", "failures") for gate in shut):
        decided += f", and speaks only of {unit}s with feedback"
    return Words(
        "Do not act on this yet",
        f"{' '.join(gate.text for gate in shut)} {decided}.",
        _chance(shut),
        " ".join(report.verdict.hints),
        "",
        _deciding(report),
    )


def _chance(gates: Sequence[Gate]) -> str:
    known = [gate.p_value for gate in gates if gate.p_value is not None]
    if not known:
        return ""
    share = per_cent(max(min(known), _SMALLEST))
    often = "less than " if min(known) < _SMALLEST else ""
    return f"If arms were alike in this, it would ever look so in {often}{share} of tests."


def _equal(report: Report, unit: str) -> Words:
    nearest = _deciding(report)
    return Words(
        "No difference worth having",
        f"The difference of `{nearest.arm}` to `{nearest.baseline}` lies between "
        f"{number(nearest.lower, signed=True)} and {number(nearest.upper, signed=True)} per "
        f"{_per(report, unit)}, which is less than you said is worth having.",
        _sure(report),
        "Take whichever arm is cheaper to run, and end the test:",
        f'mlops promote {report.name} --arm {nearest.baseline} --force "equal"',
        nearest,
    )


def _not_worse(report: Report, unit: str) -> Words:
    nearest, several = _deciding(report), len(_compared(report)) > 1
    # That with the best chances, not that which was last to be shown not to be worse.
    arm = leading(_compared(report)).arm
    return Words(
        "No arm is worse" if several else f"`{nearest.arm}` is not worse",
        f"Whatever {f'`{nearest.arm}`, the nearest to it,' if several else 'it'} loses against "
        f"`{nearest.baseline}` is less than you said is worth having: "
        f"the difference is at least {number(nearest.lower, signed=True)} per "
        f"{_per(report, unit)}.",
        _sure(report),
        "Leave it running to learn whether it is better, or promote it for another reason:",
        f'mlops promote {report.name} --arm {arm} --force "not worse"',
        nearest,
    )


def _over(report: Report, finished: Finished, unit: str) -> Words:
    """Say how it ended, and what is next; its results are still below."""
    verdict, arm = report.verdict, f"`{finished.arm}` ({finished.model})"
    why = f"Revision {finished.revision} serves {arm} alone. "
    if verdict.winner is None:
        why += "No winner had been found by then."
    elif verdict.winner == finished.arm:
        why += _WORDS_OF[verdict.decision](report, unit).why
    else:
        why += f"The test had found `{verdict.winner}` to be the best of its arms."
    return Words(
        f"Finished: `{finished.arm}` is live",
        why,
        _sure(report) if verdict.winner else "",
        "To start the next test, deploy the live model beside a new one:",
        f"mlops deploy --ab {finished.model} MODEL",
        _deciding(report) if verdict.arm else None,
    )


def _invalid(report: Report, unit: str) -> Words:
    ratio = report.sample_ratio
    names = [arm.name for arm in report.arms]
    counts = f" {counts_text(names, ratio.seen, ratio.expected)}" if ratio else ""
    return Words(
        "Do not compare: the split is broken",
        "Sample ratio mismatch (SRM): whatever differs between the arms may come from "
        f"who was sent to them, and no comparison below can be trusted.{counts}",
        f"A correct split would ever look like this in at most "
        f"{per_cent(ratio.alpha)} of tests." if ratio else "",
        " ".join(report.verdict.hints) or f"{WHERE_TO_LOOK} {STAYS}",
        "",
    )  # fmt: skip


def _continue(report: Report, unit: str) -> Words:
    if not report.comparisons:
        return Words(
            "One arm, nothing to compare",
            "All traffic goes to one model. What is known about it stands below.",
            "",
            "To compare it with another, deploy both:",
            "mlops deploy --ab MODEL MODEL",
        )
    if not report.verdict.n:
        return _nothing_yet(report, unit)
    if report.verdict.arm is None:
        return _too_early(report)
    nearest = _deciding(report)
    return Words(
        "Not decided yet",
        f"So far the mean reward of `{nearest.arm}` differs from that of `{nearest.baseline}` by "
        f"{number(nearest.estimate, signed=True)} per {_per(report, unit)}, but anything from "
        f"{number(nearest.lower, signed=True)} to {number(nearest.upper, signed=True)} is "
        f"plausible, and that includes no difference.{_outlook(nearest, counted(report))}",
        _sure(report),
        "Leave it running and look again whenever you like: looking costs nothing.",
        "",
        nearest,
    )


def _too_early(report: Report) -> Words:
    early = [c for c in report.comparisons if not is_known(c)]
    some = len(early) < len(report.comparisons)
    names = ", ".join(f"`{c.arm}`" for c in early)
    about = f" about {names}" if some else ""
    needs = next((c.waiting_for for c in early if c.waiting_for), "needs feedback of every arm")
    return Words(
        f"Too early to tell{f' for {names}' if some else ''}",
        f"Before anything may be said{about}, the test {needs}. Until then the spread of the "
        "rewards is not known well enough to say how far chance can reach.",
        "",
        "Leave it running and look again whenever you like.",
        "",
    )


def _compared(report: Report) -> tuple[Comparison, ...]:
    """Return the comparisons that the verdict rests on."""
    if report.paired is not None and _is_paired(report):
        return report.paired.comparisons
    return report.comparisons


def _is_paired(report: Report) -> bool:
    """Whether the comparison on the same rows decided."""
    paired = report.paired
    return paired is not None and report.verdict.method == paired.verdict.method


def _deciding(report: Report) -> Comparison:
    """Return the comparison that the verdict is about."""
    return next(c for c in _compared(report) if c.arm == report.verdict.arm)


def _nothing_yet(report: Report, unit: str) -> Words:
    requests = sum(arm.requests for arm in report.arms)
    if not requests:
        replay = f"mlops feedback {report.name} --data FILE --truth-column COLUMN"
        can = can_replay(report.reward)
        return Words(
            "No traffic yet",
            "This deployment has had no request since it went live.",
            "",
            "Send it requests, or replay a file whose truth is known:"
            if can
            else "Send it requests, and keep the id of each for its reward:",
            replay if can else f"mlops predict {report.name} --data FILE",
        )
    if report.no_reward:
        return Words(
            "No reward can be derived",
            f"Feedback has come, and {report.no_reward}.",
            "",
            "The reward belongs to the deployment: deploy again with another one, or send rewards.",
            "",
        )
    return Words(
        "No feedback yet",
        f"{requests:,} requests were answered, and none of the answers has been rated.",
        "",
        f"Send {'a truth or ' if can_replay(report.reward) else ''}a reward for the request ids "
        "you kept:",
        feedback_commands(report.reward, report.name)[0],
    )


def _outlook(nearest: Comparison, units: str) -> str:
    if nearest.remaining:
        return f" {forecast(nearest, units)}"
    if nearest.remaining is not None:
        return ""
    least = nearest.remaining_range is not None and nearest.remaining_range[0]
    text = " The arms may be as good as equal."
    return f"{text} {forecast(nearest, units)}" if least else text


def _gain(report: Report, effect: float, than: str, unit: str) -> str:
    """Say by how much the winner is better, in terms of its reward, and how far that may be off."""
    verdict, reward = report.verdict, reward_called(report.reward)
    scale = reward.scale
    bounds = [scale * abs(bound) for bound in (verdict.lower, verdict.upper) if bound is not None]
    plausible = f"The true gain lies between {' and '.join(map(number, sorted(bounds)))}."
    found = reward.gain.format(
        winner=f"`{verdict.winner}`",
        amount=number(scale * effect),
        unit=_per(report, unit),
        than=than,
    )
    return f"{found} {plausible}"


def _per(report: Report, unit: str) -> str:
    """What the reward is one of: a unit, or what its sum is divided by."""
    return report.analysis.per.removesuffix("s") or unit


def _sure(report: Report) -> str:
    alpha = report.verdict.alpha
    text = (
        f"That holds with {per_cent(1 - alpha)} confidence at every look together: of tests "
        f"between equals, at most {per_cent(alpha)} ever name a winner, however often you "
        "look and whenever you stop."
    )
    return f"{text} {report.verdict.weakest}".rstrip()


_WORDS_OF: dict[str, Callable[[Report, str], Words]] = {
    "promote": _promote,
    "keep": _keep,
    "invalid": _invalid,
    "withheld": _withheld,
    "equal": _equal,
    "not-worse": _not_worse,
}
