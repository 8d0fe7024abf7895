"""Caps on outcomes: how many of one unit, and of one API key, count.

A client that may send feedback may send false feedback. A cap bounds what one sender, or what one
unit, can do; it does not detect them. The first outcomes count, by arrival, so that a client
cannot push out what was there before, and whether one counts never depends on what it says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mlops.spec.attribution import Attribution, describe_cap


class Sent(Protocol):
    """What a cap needs of an outcome."""

    @property
    def nonce(self) -> bytes:
        """Identity of its decision."""
        ...

    @property
    def unit(self) -> bytes | None:
        """Keyed hash of the sticky unit, if there is one."""
        ...

    @property
    def key_id(self) -> str | None:
        """API key that it came with; None for none."""
        ...

    @property
    def time_ms(self) -> int:
        """When it arrived, milliseconds since 1970 in UTC."""
        ...


_T = TypeVar("_T", bound=Sent)


@dataclass(slots=True)
class Caps:
    """Admits outcomes up to the caps of an experiment, and counts the others.

    Attributes:
        rules: Of the experiment.
        by_unit: Outcomes left out, by unit.
        by_key: Outcomes left out, by key.
    """

    rules: Attribution
    by_unit: Counter[bytes] = field(default_factory=Counter)
    by_key: Counter[str] = field(default_factory=Counter)
    _of_unit: Counter[bytes] = field(default_factory=Counter)
    # Period, and the number of outcomes in it; of the last one of each key.
    _of_key: dict[str, tuple[int, int]] = field(default_factory=dict)

    def forget_units(self, counted: Mapping[bytes, int]) -> None:
        """Forget all units but these, with the outcomes that counted.

        For readers that go through a journal in batches, and cannot keep every unit in memory.

        Args:
            counted: Of each unit that may come next.
        """
        self._of_unit = Counter(counted)
        self.by_unit.clear()

    def within(self, outcomes: Iterable[_T]) -> Iterator[_T]:
        """Yield the outcomes that count.

        Args:
            outcomes: In order of arrival.
        """
        if not self.rules.max_per_unit and not self.rules.max_per_key:
            yield from outcomes
            return
        width_ms = round(self.rules.per_key_s * 1000)
        for each in outcomes:
            if self._is_within(each, width_ms):
                yield each

    def _is_within(self, outcome: Sent, width_ms: int) -> bool:
        # The key first: what a sender may not send takes nothing from the unit it is about.
        if self.rules.max_per_key and outcome.key_id is not None:
            stretch = outcome.time_ms // width_ms if width_ms else 0
            last, came = self._of_key.get(outcome.key_id, (stretch, 0))
            # Workers' clocks may differ; going back and forth does not reset the count.
            came = came + 1 if stretch <= last else 1
            self._of_key[outcome.key_id] = max(last, stretch), came
            if came > self.rules.max_per_key:
                self.by_key[outcome.key_id] += 1
                return False
        if self.rules.max_per_unit:
            unit = outcome.unit or outcome.nonce
            self._of_unit[unit] += 1
            if self._of_unit[unit] > self.rules.max_per_unit:
                self.by_unit[unit] += 1
                return False
        return True

    def notes(self) -> list[str]:
        """Say what was left out, and from which unit or key most of it came."""
        units = Counter({unit.hex(): count for unit, count in self.by_unit.items()})
        return [
            *_note(units, "unit", f"max_per_unit = {self.rules.max_per_unit}"),
            *_note(self.by_key, "key", f'max_per_key = "{describe_cap(self.rules)}"'),
        ]


def _note(left_out: Counter[str], kind: str, rule: str) -> list[str]:
    if not left_out:
        return []
    total, (name, most) = left_out.total(), left_out.most_common(1)[0]
    if len(left_out) == 1:
        who = f"of {kind} `{name}`"
    else:
        who = f"of {len(left_out):,} {kind}s, {most:,} of `{name}`,"
    return [f"{total:,} outcomes {who} were left out: `[feedback] {rule}`."]
