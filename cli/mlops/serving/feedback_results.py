"""What senders of feedback are told about it, whichever the protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_MAX_WARNINGS = 5

#: HTTP statuses of a single piece of feedback that was not stored.
REFUSALS = {
    "forged": 400,
    "not_allowed": 403,
    "unknown": 404,
    "ambiguous": 409,
    "conflict": 409,
    "no_outcome_id": 422,
    "misfit": 422,
    "no_such_row": 422,
    "out_of_range": 422,
}
ADVICE = {
    "forged": "this request id was not made by this deployment",
    "not_allowed": "feedback by client id is switched off; send the request id",
    "unknown": "no request has this client id",
    "ambiguous": "several requests have this client id; name the request id instead",
    "no_outcome_id": "a row may have several outcomes here, so each needs an `outcome_id`, "
    "which identifies one that is sent again",
    "no_such_row": "the request has fewer rows",
    "conflict": "this row has another outcome, which counts; deploy with "
    '`[feedback] repeated = "last"` to let later ones correct it',
}
# What to do about an `outcome_id` that came with another value, by `[feedback] repeated`.
CORRECT = {
    "first": 'deploy with `[feedback] repeated = "last"` to let later ones correct it, and send '
    "the correction with an `outcome_id` of its own",
    "last": "a correction needs an `outcome_id` of its own",
    "sum": "send the difference with an `outcome_id` of its own",
}


@dataclass(frozen=True, slots=True)
class OutcomeResult:
    """The result of one outcome for its sender.

    Attributes:
        fate: `accepted`, `unmatched`, `duplicate`, or one of `REFUSALS`.
        arm: Name of the arm that is credited, where it is known.
        revision: Number of its revision, 0 if unknown.
        late: Whether that revision is no longer live.
        warning: Why its truth has no reward, and what to do, or that it is no class of the models;
            else empty.
        unknown_label: Whether it is no class of the models, and counts as a wrong answer.
        window: The feedback window that it came after, so that it does not count; empty if it came
            within.
        expected: Of a `misfit`, what its truth or its list should have been; of a `conflict` by its
            id, what to do.
    """

    fate: str
    arm: str = ""
    revision: int = 0
    late: bool = False
    warning: str = ""
    unknown_label: bool = False
    window: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one outcome of several was not stored.

    Attributes:
        index: Which of them, from 0.
        fate: One of `REFUSALS`.
        error: What to do about it.
    """

    index: int
    fate: str
    error: str


@dataclass(frozen=True, slots=True)
class FeedbackResult:
    """The result of one request with feedback for its sender.

    Attributes:
        counts: Outcomes by fate, and the late ones among the stored.
        outcome: The result of the only outcome, if it was stored.
        warnings: Why outcomes do not count, truths have no reward, or are no class of the models.
        problems: The first of those that were not stored.
        refused: Fate of the only outcome, if it was not stored; else empty.
        unknown_labels: How many truths are no class of the models.
        after_window: How many were stored and came after their feedback window.
    """

    counts: dict[str, int]
    outcome: OutcomeResult | None
    warnings: list[str]
    problems: list[Problem]
    refused: str
    unknown_labels: int = 0
    after_window: int = 0


def warnings(receipts: Sequence[OutcomeResult]) -> list[str]:
    """Return the different warnings among receipts, the first few; first of what does not count."""
    windows = {receipt.window for receipt in receipts if receipt.window}
    late = [
        f"feedback that comes after its window of {window} is stored and does not count"
        for window in sorted(windows)
    ]
    found = dict.fromkeys(receipt.warning for receipt in receipts if receipt.warning)
    return [*late, *found][:_MAX_WARNINGS]


def counts(receipts: Sequence[OutcomeResult]) -> dict[str, int]:
    """Count receipts by fate, and the late ones among the stored."""
    found = Counter(receipt.fate for receipt in receipts)
    found["late"] = sum(
        receipt.late for receipt in receipts if receipt.fate in ("accepted", "unmatched")
    )
    return {name: count for name, count in found.items() if count}
