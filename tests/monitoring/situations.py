"""Experiments between equal arms in which something ordinary goes wrong.

Each writes a journal from a seed; what the report makes of it is the test's, and that of
`benchmarks/verdicts.py`. Times are real: a day has its length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.spec.analysis import Analysis
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion

START_MS = 1_772_352_000_000
DAY_MS = 86_400_000


@dataclass
class Shop:
    """Writes requests and rewards of a two-arm test.

    Attributes:
        journal: Where to.
        rng: Chance.
        sticky: Whether units stick.
        rules: What feedback counts.
        horizon: Planned end of the test; 0 for none.
        horizon_days: The same as a time.
        redraw: Whether units that return are drawn again.
        analysis: How the evidence is judged.
    """

    journal: SqlJournal
    rng: np.random.Generator
    sticky: bool = False
    rules: Attribution = field(default_factory=Attribution)
    horizon: int = 0
    horizon_days: float = 0.0
    redraw: bool = False
    analysis: Analysis = field(default_factory=Analysis)
    number: int = 0
    weights: Sequence[float] = (0.5, 0.5)
    now_ms: int = START_MS
    decisions: list[Decision] = field(default_factory=list)
    outcomes: list[NewOutcome] = field(default_factory=list)

    def live(self, *weights: float, names: Sequence[str] = ("a", "b")) -> None:
        """Let a revision go live."""
        self.flush()
        self.number, self.weights = self.number + 1, weights
        arms = tuple(
            Arm(name, ModelVersion(name, f"shop/{name}", f"/{name}"), weight)
            for name, weight in zip(names, weights, strict=True)
        )
        spec = DeploymentSpec(
            "shop",
            arms,
            reward="given",
            sticky_by="header:x-user" if self.sticky else "",
            attribution=self.rules,
            horizon=self.horizon,
            horizon_days=self.horizon_days,
            redraw=self.redraw,
            analysis=self.analysis,
        )
        event = RevisionEvent(self.number, self.now_ms, "live", to_dict(spec))
        self.journal.record([event])

    def ask(self, arm: int, time_ms: int, *, unit: int | None = None, status: int = 200) -> bytes:
        """Write a request down."""
        nonce = self.rng.bytes(12)
        key = None if unit is None else int(unit).to_bytes(8, "big")
        self.decisions.append(
            Decision(
                nonce, int(time_ms), self.number, arm, self.weights[arm], 1, 500, status,
                "mlflow", unit=key, predictions=[1.0] if status == 200 else None,
            )
        )  # fmt: skip
        return nonce

    def tell(self, nonce: bytes, arm: int, time_ms: int, reward: float) -> None:
        """Write feedback down."""
        self.outcomes.append(
            NewOutcome(
                nonce, None, 0, int(time_ms), self.number, arm, self.weights[arm], float(reward),
                None, repeatable=self.rules.repeated != "first",
            )
        )  # fmt: skip

    def draw(self, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Draw arms by the weights."""
        return self.rng.choice(len(self.weights), n, p=self.weights)

    def flush(self) -> None:
        """Store what was written, feedback in the order of its arrival."""
        self.journal.append(self.decisions, sorted(self.outcomes, key=lambda o: o.time_ms))
        self.decisions, self.outcomes = [], []


def sticky_ramp(shop: Shop, *, redraw: bool = False) -> None:
    """90/10, then 50/50: 6,000 of 8,000 users return and convert at 10 %, new ones at 5 %."""
    shop.sticky = True
    shop.live(0.9, 0.1)
    first = dict(enumerate(shop.draw(8000).tolist()))
    for unit, arm in first.items():
        nonce = shop.ask(arm, shop.now_ms + unit, unit=unit)
        shop.tell(nonce, arm, shop.now_ms + unit + 1, shop.rng.random() < 0.05)
    shop.now_ms += DAY_MS
    shop.live(0.5, 0.5)
    for unit in range(2000, 14_000):
        returning = unit < 8000
        known = first.get(unit)
        arm = int(shop.draw(1)[0]) if known is None or redraw else known
        nonce = shop.ask(arm, shop.now_ms + unit, unit=unit)
        rate = 0.10 if returning else 0.05
        shop.tell(nonce, arm, shop.now_ms + unit + 1, shop.rng.random() < rate)
    shop.flush()


def hard_rows_fail(shop: Shop) -> None:
    """`b` answers 5xx on the 4 % hardest rows, and is equal otherwise."""
    shop.live(0.5, 0.5)
    for i, arm in enumerate(shop.draw(12_000).tolist()):
        hard = shop.rng.random()
        failed = arm == 1 and hard < 0.04
        nonce = shop.ask(arm, shop.now_ms + i, status=500 if failed else 200)
        if not failed:
            shop.tell(nonce, arm, shop.now_ms + i + 1, shop.rng.random() < 0.2 + 0.6 * (hard > 0.2))
    shop.flush()


def pleased_answer_more(shop: Shop) -> None:
    """5 % answer; `b`'s pleased users at 8 %."""
    shop.live(0.5, 0.5)
    for i, arm in enumerate(shop.draw(40_000).tolist()):
        pleased = shop.rng.random() < 0.6
        nonce = shop.ask(arm, shop.now_ms + i)
        if shop.rng.random() < (0.08 if arm == 1 and pleased else 0.05):
            shop.tell(nonce, arm, shop.now_ms + i + 1, pleased)
    shop.flush()


def positives_only(shop: Shop) -> None:
    """Revenue is told on purchase only; `b` earns 17 % more a request, in smaller baskets."""
    shop.live(0.5, 0.5)
    for i, arm in enumerate(shop.draw(20_000).tolist()):
        nonce = shop.ask(arm, shop.now_ms + i)
        rate, basket = ((0.10, 40.0), (0.18, 26.0))[arm]
        if shop.rng.random() < rate:
            shop.tell(nonce, arm, shop.now_ms + i + 1, shop.rng.gamma(4, basket / 4))
    shop.flush()


def slow_feedback(shop: Shop, *, days: float = 2.0) -> None:
    """Half are solved in both arms. `b`'s solved ones are told after .5 days, others after 4; `a`'s
    after 2.
    """
    shop.live(0.5, 0.5)
    n = 6000
    for i, arm in enumerate(shop.draw(n).tolist()):
        time_ms = shop.now_ms + int(i / n * days * DAY_MS)
        solved = shop.rng.random() < 0.5
        after = 2.0 if arm == 0 else (0.5 if solved else 4.0)
        nonce = shop.ask(arm, time_ms)
        told_ms = time_ms + int(after * DAY_MS)
        if told_ms <= shop.now_ms + days * DAY_MS:
            shop.tell(nonce, arm, told_ms, solved)
    shop.flush()


def retries(shop: Shop) -> None:
    """Clients repeat `b`'s slow answers without a key: 15 % of rows, those of better customers."""
    shop.live(0.5, 0.5)
    for i in range(10_000):
        better = shop.rng.random() < 0.15
        arm = int(shop.draw(1)[0])
        nonce = shop.ask(arm, shop.now_ms + 2 * i)
        if arm == 1 and better:
            # The first answer is given up; feedback names the second.
            arm = int(shop.draw(1)[0])
            nonce = shop.ask(arm, shop.now_ms + 2 * i + 1)
        shop.tell(nonce, arm, shop.now_ms + 2 * i + 2, shop.rng.random() < 0.3 + 0.5 * better)
    shop.flush()


def broken_split_then_new_weights(shop: Shop) -> None:
    """Sticky; 42 of 100 for 50, the lost ones were bad; then new weights."""
    shop.sticky = True
    shop.live(0.5, 0.5)
    unit = 0
    for _ in range(6000):
        unit += 1
        arm = int(shop.draw(1)[0])
        good = shop.rng.random() < 0.3
        if arm == 1 and not good and shop.rng.random() < 0.4:
            continue
        nonce = shop.ask(arm, shop.now_ms + unit, unit=unit)
        shop.tell(nonce, arm, shop.now_ms + unit + 1, good)
    shop.now_ms += DAY_MS
    shop.live(0.6, 0.4)
    for _ in range(3000):
        unit += 1
        arm = int(shop.draw(1)[0])
        nonce = shop.ask(arm, shop.now_ms + unit, unit=unit)
        shop.tell(nonce, arm, shop.now_ms + unit + 1, shop.rng.random() < 0.3)
    shop.flush()


def rare_losses(shop: Shop, *, n: int = 20_000) -> None:
    """95/5; margins of 1 with a loss of 100 once in a thousand."""
    shop.live(0.95, 0.05)
    for i, arm in enumerate(shop.draw(n).tolist()):
        nonce = shop.ask(arm, shop.now_ms + i)
        loss = 100.0 * (shop.rng.random() < 0.001)
        shop.tell(nonce, arm, shop.now_ms + i + 1, shop.rng.normal(1, 0.3) - loss)
    shop.flush()


def deployed_again(shop: Shop) -> None:
    """`b` won in January and was promoted; the same arms come back in July, without a row."""
    shop.live(0.5, 0.5)
    for i, arm in enumerate(shop.draw(2000).tolist()):
        nonce = shop.ask(arm, shop.now_ms + i)
        shop.tell(nonce, arm, shop.now_ms + i + 1, shop.rng.normal(arm, 1))
    shop.now_ms += DAY_MS
    shop.live(1.0, names=("b",))
    shop.now_ms += 180 * DAY_MS
    shop.live(0.5, 0.5)
    shop.flush()


def _by_day(shop: Shop, days: int, per_day: int, lift: Callable[[float], float]) -> None:
    """Traffic with a daily rhythm, in which `b` converts more by `lift` of the day."""
    shop.live(0.5, 0.5)
    for day in range(days):
        # Most come in the middle of the day.
        hours = np.sort(shop.rng.beta(4, 4, per_day))
        for hour, arm in zip(hours.tolist(), shop.draw(per_day).tolist(), strict=True):
            time_ms = shop.now_ms + int((day + hour) * DAY_MS)
            nonce = shop.ask(arm, time_ms)
            rate = 0.2 + (lift(day + hour) if arm == 1 else 0.0)
            shop.tell(nonce, arm, time_ms + 1, shop.rng.random() < rate)
    shop.flush()


def machines(shop: Shop, *, days: float = 3.0, per_day: int = 1000, lift: float = 0.5) -> None:
    """Requests come evenly, day and night; `b` is better by `lift` standard deviations."""
    shop.live(0.5, 0.5)
    for i, arm in enumerate(shop.draw(round(days * per_day)).tolist()):
        time_ms = shop.now_ms + i * DAY_MS // per_day
        shop.tell(shop.ask(arm, time_ms), arm, time_ms + 1, shop.rng.normal(lift * arm))
    shop.flush()


def weekend_is_worse(shop: Shop, *, days: int = 5) -> None:
    """`b` wins on weekdays and loses more on weekends; the test begins on a Monday."""
    _by_day(shop, days, 2500, lambda day: -0.10 if int(day) % 7 >= 5 else 0.035)


def novelty(shop: Shop, *, days: int = 12) -> None:
    """`b` pleases by 12 points at first, half as much every two days, and settles at -2."""
    _by_day(shop, days, 2500, lambda day: 0.14 * 0.5 ** (day / 2) - 0.02)
