"""Ramps of a canary that never were, made from seeded draws."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.json_records import finite, read_record
from mlops.monitoring.ramp import RampLook
from mlops.spec.analysis import Analysis
from mlops.spec.deployment import to_dict
from mlops.spec.ramp import Ramp
from tests.monitoring.journals import START_MS, spec_of

MINUTE_MS = 60_000
STEPS = (5.0, 25.0, 100.0)
PLAN = Ramp(STEPS, every_s=300.0, auto=True)
GUARDRAILS = (("errors", 0.06), ("latency_p95_ms", 60.0))


@dataclass(frozen=True)
class Step:
    """One revision of a ramp.

    Attributes:
        percent: Share of the canary.
        n: Requests.
        errors: Share that fail, of the baseline and of the canary.
        status: Of those that fail.
        slower_ms: How much slower the canary is.
        actual: Share of the canary that was really drawn, if another; per cent.
        later: The same in the second half; none for as in the first.
        ramp: Whether the revision has the ramp.
    """

    percent: float
    n: int = 3_000
    errors: tuple[float, float] = (0.01, 0.01)
    status: int = 500
    slower_ms: float = 0.0
    actual: float | None = None
    later: float | None = None
    ramp: bool = True


def fill(
    journal: SqlJournal,
    steps: Sequence[Step],
    *,
    sticky: int = 0,
    advance: str = "not-worse",
    guardrails: Sequence[tuple[str, float]] = GUARDRAILS,
    seed: int = 5,
    horizon: int = 0,
) -> int:
    """Write a ramp into a journal, ten minutes each; return when it ends."""
    rng = np.random.default_rng(seed)
    now_ms, before = START_MS, 0
    plan = replace(PLAN, advance=advance)  # type: ignore[arg-type]
    units: dict[int, int] = {}
    for number, step in enumerate(steps, start=1):
        share = step.percent / 100
        spec = spec_of(["a", "b"], [1 - share, share], "given", "header:u" if sticky else "")
        spec = replace(
            spec,
            ramp=plan if step.ramp else None,
            horizon=horizon,
            analysis=Analysis(guardrails=tuple(guardrails)),
        )
        journal.record([RevisionEvent(number, now_ms, "live", to_dict(spec))])
        decisions, outcomes = [], []
        for i in range(step.n):
            unit = int(rng.integers(sticky)) if sticky else before + i
            real = step.later if step.later and 2 * i >= step.n else step.actual or step.percent
            drawn = int(rng.random() < real / 100)
            arm = units.setdefault(unit, drawn)
            failed = rng.random() < step.errors[arm]
            latency = rng.lognormal(3.5, 0.5) + step.slower_ms * arm
            nonce, time_ms = rng.bytes(12), now_ms + 10 * MINUTE_MS * i // step.n
            propensity = (1 - share, share)[arm]
            decisions.append(
                Decision(
                    nonce, time_ms, number, arm, propensity, 1, int(1000 * latency),
                    step.status if failed else 200, "mlflow",
                    unit=unit.to_bytes(8, "big") if sticky else None,
                )
            )  # fmt: skip
            reward = float(rng.random() < 0.5)
            outcomes.append(
                NewOutcome(nonce, None, 0, time_ms, number, arm, propensity, reward, None)
            )
        journal.append(decisions, outcomes)
        before, now_ms = before + step.n, now_ms + 10 * MINUTE_MS
    return now_ms


def through_json(look: RampLook) -> RampLook:
    """Return a look as it comes out of JSON."""
    found: RampLook = read_record(RampLook, json.loads(json.dumps(finite(asdict(look)))))
    return found
