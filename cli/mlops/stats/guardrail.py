"""Metrics that must not get worse, beside the reward that should get better.

Symbols, per guardrail:
    lower, upper   anytime-valid bounds of candidate minus baseline, oriented so that higher is
                   better, each at the level of the experiment
    margin         the loss that would be accepted, positive

A guardrail passes (non-inferiority) when lower > -margin, fails (inferiority) when upper < 0 by
more than chance, and is open otherwise. The rule over all metrics is that of Schultzberg, Ankargren
and Franberg (arXiv 2402.11609): ship if some success metric is better and every guardrail passes.
All must pass, an intersection-union test, so alpha is not divided among guardrails; each of g of
them may miss by bad luck, so for power 1 - beta of the decision each needs 1 - beta / (g + 1).
Stopping for inferiority asks whether any fails, so there alpha is divided.
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["passes", "fails", "open"]


@dataclass(frozen=True, slots=True)
class Guardrail:
    """Bounds of one guardrail's difference.

    Attributes:
        name: Of the metric.
        lower: Lower bound at alpha; -inf while unknown.
        upper: Upper bound at alpha divided by the number of guardrails; inf while unknown.
        margin: Accepted loss, positive, in units of the metric.
    """

    name: str
    lower: float
    upper: float
    margin: float

    def state(self) -> State:
        """Whether the metric is shown not to be worse, to be worse, or neither.

        A metric may be both: worse, and by less than the margin. It then passes.
        """
        if not self.margin > 0:
            raise ValueError(f"the margin of {self.name} must be positive, got {self.margin}")
        if self.lower > -self.margin:
            return "passes"
        return "fails" if self.upper < 0 else "open"
