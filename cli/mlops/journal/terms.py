"""What the reward of a deployment needs of its arms."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.journal.records import RevisionEvent, Value
from mlops.rewards import Terms
from mlops.spec.deployment import DeploymentSpec, from_dict


def is_spec(event: RevisionEvent) -> bool:
    """Whether an event names what serves from then on."""
    return event.event in ("live", "started") and event.spec is not None


def live_event(events: Sequence[RevisionEvent]) -> RevisionEvent | None:
    """Return the event that says what serves now, of all in their order; None before the first.

    Not that of the highest revision: one that was written and never answered has a higher number.
    """
    return next((event for event in reversed(events) if is_spec(event)), None)


def terms_of(events: Sequence[RevisionEvent], spec: DeploymentSpec) -> tuple[Terms, ...]:
    """Return the terms of each arm: its classes, as its server has found them."""
    known: dict[str, Sequence[Value]] = {}
    for event in events:
        if event.spec is not None and is_spec(event):
            its = from_dict(event.spec)
            if its.experiment == spec.experiment:
                known.update(event.spec.get("classes") or {})
    return tuple(
        Terms.of(known.get(arm.name, ()), spec.costs, spec.decides_by) for arm in spec.arms
    )
