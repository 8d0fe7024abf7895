"""Which metrics a guardrail may have."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mlops.errors import InvalidInputError, did_you_mean, one_of
from mlops.rewards import REWARDS

#: What a request has without any feedback; lower is better.
LATENCY, ERRORS, REFUSALS = "latency_ms", "errors", "refusals"
#: Quantiles of the latency, milliseconds.
QUANTILES = {"latency_p50_ms": 0.5, "latency_p90_ms": 0.9, "latency_p95_ms": 0.95,
             "latency_p99_ms": 0.99}  # fmt: skip
OF_REQUESTS = (LATENCY, *QUANTILES, ERRORS, REFUSALS)
#: The reward of the experiment itself.
OWN_REWARD = "reward"


def check_guardrails(declared: Iterable[tuple[str, float]]) -> None:
    """Raise an `InvalidInputError` unless all metrics are known and all margins positive."""
    known = [*OF_REQUESTS, OWN_REWARD, *(name for name in REWARDS if REWARDS.load(name).is_derived)]
    for name, margin in declared:
        if name not in known:
            raise InvalidInputError(
                f"`{name}` is not a metric for a guardrail: `[report] guardrails` takes "
                f"{one_of(known)}.",
                hint=did_you_mean(name, known)
                or "A figure of your own is guarded where it is the reward that clients send: "
                f"`--reward given --guardrail {OWN_REWARD}=MARGIN`.",
            )
        if not 0 < margin < math.inf:
            raise InvalidInputError(
                f"The margin of the guardrail `{name}` must be positive, not {margin:g}.",
                hint="It is the loss that would be accepted for a better reward.",
            )
