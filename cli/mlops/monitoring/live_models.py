"""Which models are live, and which requests each of them answered, under whatever arm it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops.errors import MlopsError
from mlops.journal.records import RevisionEvent
from mlops.journal.terms import is_spec, live_event
from mlops.policies.base import Contextual
from mlops.policies.making import make_policy
from mlops.spec.deployment import Arm, DeploymentSpec, from_dict
from mlops.spec.model import ModelVersion


@dataclass(frozen=True, slots=True)
class LiveModels:
    """The models that are live.

    Attributes:
        revision: The live revision.
        spec: Its spec.
        keys: (revision, position of an arm in it) to the key of the arm's model.
        arms: The live arms by name, each with the key of its model.
        specs: Spec of each revision.
    """

    revision: int
    spec: DeploymentSpec
    keys: Mapping[tuple[int, int], str]
    arms: Mapping[str, tuple[Arm, str]]
    specs: Mapping[int, DeploymentSpec]

    def revisions(self, key: str) -> set[int]:
        """Return the revisions in which a model answered."""
        return {revision for (revision, _), its in self.keys.items() if its == key}

    def by_request(self) -> set[int]:
        """Return the revisions whose policy looks at the request to choose an arm.

        The requests of one of their arms are no sample of those that came.
        """
        return {number for number, spec in self.specs.items() if _looks_at_requests(spec)}


def live_models(events: Sequence[RevisionEvent]) -> LiveModels | None:
    """Return the models that are live; None before the first deployment.

    Args:
        events: Of the journal, oldest first.
    """
    live = live_event(events)
    if live is None:
        return None
    specs = {e.revision: from_dict(e.spec) for e in events if e.spec and is_spec(e)}
    keys = {(n, at): key for n, spec in specs.items() for at, key in enumerate(_keys(n, spec))}
    spec = specs[live.revision]
    arms = {arm.name: (arm, keys[live.revision, at]) for at, arm in enumerate(spec.arms)}
    return LiveModels(live.revision, spec, keys, arms, specs)


def _looks_at_requests(spec: DeploymentSpec) -> bool:
    try:
        policy = make_policy(spec.policy, [arm.weight for arm in spec.arms])
    except MlopsError:
        # A policy of a package that is not installed here: to suppose that it does is safe.
        return True
    return isinstance(policy, Contextual)


def model_key(model: ModelVersion) -> str:
    """Return what a model is known by."""
    digest = hashlib.sha256(json.dumps(model.identity).encode()).hexdigest()
    return f"model/{digest[:32]}"


def _keys(revision: int, spec: DeploymentSpec) -> list[str]:
    """Return the key of each arm's model.

    Of two arms with the same model the second is a model of its own.
    """
    found: list[str] = []
    for at, arm in enumerate(spec.arms):
        key = model_key(arm.model)
        found.append(f"{key}/{revision}/{at}" if key in found else key)
    return found
