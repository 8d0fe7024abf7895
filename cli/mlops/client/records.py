"""What an application sends and receives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer.

    Attributes:
        values: One per row, as the model answers them.
        request_id: Names this request in feedback.
        arm: Arm that answered.
        revision: Revision of the deployment that answered.
    """

    values: list[Any]
    request_id: str
    arm: str
    revision: int

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the model answers
        """The prediction for the only row.

        Raises:
            ValueError: There is not exactly one row.
        """
        if len(self.values) != 1:
            raise ValueError(f"the answer has {len(self.values)} rows; use `.values`")
        return self.values[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Feedback on a prediction. `docs/feedback.md` says what each key means.

    Attributes:
        request_id: `request_id` of the prediction.
        client_id: Instead: the application's own id of the request, where it is unique.
        reward: A number, higher is better; a list or an array holds one per row. None for none.
        truth: The true value; a list or an array holds one per row. Of several outputs a list or
            an object, of several rows a list of those. None for none.
        row: Row of the request, from 0; None for the whole request.
        outcome_id: The application's own id of this piece of feedback, empty for none.
    """

    request_id: str = ""
    client_id: str = ""
    reward: float | list[float | None] | None = None
    truth: Any = None
    row: int | None = None
    outcome_id: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as it is sent."""
        names = ("request_id", "client_id", "reward", "truth", "row", "outcome_id")
        values = {name: getattr(self, name) for name in names}
        # An array compared with a text is an array.
        return {
            name: value
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and not value)
        }


@dataclass(frozen=True, slots=True)
class Refused:
    """An outcome that was not stored.

    Attributes:
        index: Index among those that were sent, from 0.
        status: Why, in a word: `forged`, `unknown`, `conflict`, `out_of_range`... `malformed` was
            not sent.
        error: Why, and what to do.
    """

    index: int
    status: str
    error: str


@dataclass(frozen=True, slots=True)
class FeedbackResult:
    """The result of sending outcomes. What was stored is on disk.

    Attributes:
        counts: Outcomes by status: `accepted`, `unmatched`, `duplicate`, `late`, or why refused.
        refused: The first of those that were not stored, of each request a thousand.
        warnings: Why labels have no reward, or outcomes do not count.
        after_window: How many were stored and do not count, since they came after their feedback
            window.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()
    warnings: tuple[str, ...] = ()
    after_window: int = 0

    def __add__(self, other: FeedbackResult) -> FeedbackResult:
        names = [*self.counts, *(name for name in other.counts if name not in self.counts)]
        return FeedbackResult(
            {name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in names},
            self.refused + other.refused,
            tuple(dict.fromkeys(self.warnings + other.warnings)),
            self.after_window + other.after_window,
        )
