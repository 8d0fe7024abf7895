"""How `mlops batch` draws the arms of a deployment: as its server does when the job begins."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlops.deployment.journals import has_journal, open_journal
from mlops.errors import RemoteError
from mlops.journal.terms import is_spec
from mlops.policies.base import Contextual
from mlops.policies.drawing import is_distribution
from mlops.policies.first_arms import FirstArms, Rollout
from mlops.policies.making import make_policy
from mlops.registry.stores import Store
from mlops.scoring import Draw
from mlops.scoring.drawing import read_units
from mlops.scoring.job import begun
from mlops.settings import Settings
from mlops.spec.deployment import from_dict
from mlops.spec.server import ServerState
from mlops.spec.unit import revisions_of_units


def as_in_production(
    settings: Settings, name: str, state: ServerState, draw: Draw, store: Store
) -> Draw:
    """Return draws by the shares in force, in which units keep the arms that they have.

    A job that continues draws as it has begun.

    Args:
        settings: The project's settings.
        name: The deployment.
        state: Of its server, when the arms were loaded.
        draw: Draws by the weights of the revision in it.
        store: Where the parts go.

    Raises:
        ConflictError: What the job has begun with is damaged.
        RemoteError: The journal, which knows the arms of sticky units, cannot be read.
    """
    known = begun(store)
    shares = _shares(settings, name, state, draw.shares, known)
    if known is None:
        kept = _kept(settings, name, state) if draw.has_units else None
    else:
        kept = read_units(store) if draw.has_units and known.get("units") else None
    return replace(draw, shares=shares, kept=kept)


def _shares(
    settings: Settings, name: str, state: ServerState, weights: tuple[float, ...],
    known: Mapping[str, Any] | None,
) -> tuple[float, ...]:  # fmt: skip
    """Return the probabilities by which a deployment's arms are drawn.

    Where its policy learns, they are those of the newest epoch in the journal. Of a policy that
    looks at the request, they are the weights.
    """
    revision = state.launch.served.revision
    policy = make_policy(revision.spec.policy, weights)
    if not policy.learns or isinstance(policy, Contextual):
        return weights
    if known is not None:
        return tuple(known.get("shares", ()))
    if not has_journal(settings, name, state):
        return weights
    try:
        with contextlib.closing(open_journal(settings, name, state)) as journal:
            newest = journal.newer_epoch(revision.number, 0)
    except RemoteError:
        return weights
    told = newest.probabilities if newest else weights
    return told if len(told) == len(weights) and is_distribution(told) else weights


def _kept(settings: Settings, name: str, state: ServerState) -> FirstArms | None:
    """Return the arms that units keep from earlier revisions; None if none does."""
    revision = state.launch.served.revision
    if revision.spec.redraw or not has_journal(settings, name, state):
        return None
    with contextlib.closing(open_journal(settings, name, state)) as journal:
        events = journal.revision_events()
        # Later ones have begun since the state was read.
        before = [e for e in events if e.revision < revision.number]
        specs = {e.revision: from_dict(e.spec) for e in before if e.spec and is_spec(e)}
        specs[revision.number] = revision.spec
        earlier = revisions_of_units(specs, revision.number)
        rollout = Rollout(revision.number)
        if earlier:
            drawn = journal.drawn_requests(earlier)
            rollout.learn((each.unit, each.revision, each.arm, each.propensity) for each in drawn)
    # An arm that gets no traffic any more keeps no unit.
    kept = rollout.known.only(at for at, arm in enumerate(revision.spec.arms) if arm.weight > 0)
    return kept if kept.units.size else None
