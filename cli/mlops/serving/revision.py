"""A revision that is loaded and ready to answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError
from mlops.policies.base import Contextual, Policy, State
from mlops.policies.drawing import Draws
from mlops.policies.first_arms import FirstArms, Rollout
from mlops.policies.making import check_features, make_policy
from mlops.runtimes.base import LoadedModel, Runtime
from mlops.runtimes.kept import KeptRuntimes
from mlops.runtimes.load import load_model
from mlops.serving.models.branch import Branch, load_branch
from mlops.serving.models.remote import RemoteModel, connect
from mlops.serving.runners import (
    THREADS,
    GatheringRunner,
    InlineRunner,
    ProcessRunner,
    RemoteRunner,
    Runner,
    ThreadRunner,
)
from mlops.serving.shadow_models import LiveShadow, end_shadows, start_shadows, wait_for
from mlops.serving.shadow_process import Way
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.server import Served
from mlops.spec.unit import salt_of
from mlops.tables.signature import Signature

_LOG = logging.getLogger(__name__)
# Below this a prediction costs less than handing it to a thread and back.
_INLINE_MS = 1.0
# From here on it is worth a few microseconds to have requests share a call; and what their part of
# it may cost, of a call of their own.
_GATHERED_MS = 0.1
_JOINED_SHARE = 0.5


# Without slots, for what is computed once.
@dataclass(frozen=True)
class LiveArm:
    """One arm with its model in memory, or a client of it.

    Attributes:
        arm: What the spec says of it.
        index: Its position in the revision.
        loaded: Its model.
        runner: Runs it; the arm's own.
    """

    arm: Arm
    index: int
    loaded: LoadedModel
    runner: Runner

    @cached_property
    def remote(self) -> RemoteModel | None:
        """Its model, if another server answers for it."""
        return self.loaded.model if isinstance(self.loaded.model, RemoteModel) else None

    @cached_property
    def version(self) -> str:
        """The model version, as callers see it."""
        return self.arm.model.public_label

    @property
    def signature(self) -> Signature:
        """What it takes and gives; of another server's model only since that was up."""
        return self.remote.signature if self.remote else self.loaded.signature


@dataclass(frozen=True)
class LiveRevision:
    """Everything a request needs, swapped as one pointer.

    Attributes:
        served: The revision and its model folders.
        arms: Its arms, loaded.
        policy: Gives the probabilities with which they are drawn.
        draws: Draws among them, by the probabilities in force.
        salt: Keeps the draws of one experiment apart from those of the next, so that a unit's
            arm in the last one does not decide its arm in this one.
        shadows: Its shadows, ready.
        first_arms: Arms that sticky units had under earlier revisions of the experiment; None where
            units do not stick, or are drawn again.
        rollout: What learns of more of them, from rows of these revisions; None likewise.
    """

    served: Served
    arms: tuple[LiveArm, ...]
    policy: Policy
    draws: Draws
    salt: bytes
    shadows: tuple[LiveShadow, ...] = ()
    first_arms: FirstArms | None = None
    rollout: tuple[Rollout, tuple[int, ...]] | None = None

    @property
    def first_shares(self) -> tuple[float, ...]:
        """Probabilities of the arms in the policy's first epoch."""
        return _first_shares(self.policy, self.served.revision.spec)

    @property
    def signature(self) -> Signature:
        """The form of requests: the signature of the first arm that has one."""
        # An endpoint's is known since it was up, and may change when it comes up again.
        return self._known_signature if self._has_endpoints else self._fixed_signature

    @cached_property
    def _fixed_signature(self) -> Signature:
        return self._known_signature

    @property
    def _known_signature(self) -> Signature:
        known = (arm.signature for arm in self.arms if arm.signature.columns)
        return next(known, self.arms[0].signature)

    @property
    def example(self) -> dict[str, Any] | None:
        """A request that works, as JSON data for `/invocations`; None if no model has one."""
        examples = (arm.loaded.example for arm in self.arms)
        return next((each for each in examples if each is not None), None)

    @cached_property
    def _has_endpoints(self) -> bool:
        return any(arm.remote for arm in self.arms)

    @cached_property
    def in_graph(self) -> bool:
        """Whether its arms are children of another server's graph, which asks them itself."""
        return isinstance(self.arms[0].loaded.model, Branch)

    @cached_property
    def sticky(self) -> bool:
        """Whether a unit keeps its arm."""
        return bool(self.served.revision.spec.sticky_by)

    @cached_property
    def unit_header(self) -> str:
        """Header, or metadata entry, that names the sticky unit, in lower case; else empty."""
        source, _, name = self.served.revision.spec.sticky_by.partition(":")
        return name.lower() if source == "header" else ""

    @property
    def remotes(self) -> tuple[RemoteModel, ...]:
        """Every model of it that another server answers for."""
        shadows = (shadow.model for shadow in self.shadows)
        found = (*(arm.remote for arm in self.arms), *shadows)
        return tuple(each for each in found if isinstance(each, RemoteModel))


def load_revision(
    served: Served, previous: LiveRevision | None = None, known: str = ""
) -> LiveRevision:
    """Load every arm. Runs model code and may take seconds: never on the event loop.

    Args:
        served: What to load.
        previous: The revision that answers now; its models are kept where the folder is the same,
            so that a change of weights loads nothing. Without one, a server starts, and must come
            up also while an endpoint is away.
        known: Folder of the runtimes that were chosen before; empty for none.

    Raises:
        InvalidInputError: A model cannot be loaded, warmed or does not fit the others; or, beside
            a revision that answers, an endpoint does not.
    """
    spec = served.revision.spec
    running = previous.shadows if previous else ()
    paths = served.paths[len(spec.arms) :]
    # First, as their processes load at the same time.
    pythons = [served.python_of(len(spec.arms) + index) for index in range(len(spec.shadows))]
    ways = [
        Way(path, python, spec.runtime, known) for path, python in zip(paths, pythons, strict=True)
    ]
    shadows = start_shadows(spec.shadows, ways, running, strict=previous is not None)
    policy = make_policy(spec.policy, [arm.weight for arm in spec.arms])
    arms: list[LiveArm] = []
    try:
        _load_arms(served, previous, known, arms)
        _check_agreement(arms)
        if isinstance(policy, Contextual):
            _check_context(policy.features, arms)
        wait_for(shadows, running)
    except InvalidInputError:
        end_shadows(shadows, running)
        _close_new(arms, previous)
        raise
    return LiveRevision(
        served=served,
        arms=tuple(arms),
        policy=policy,
        draws=Draws(_first_shares(policy, spec)),
        salt=salt_of(spec.experiment),
        shadows=shadows,
    )


def _first_shares(policy: Policy, spec: DeploymentSpec) -> tuple[float, ...]:
    state = State(0, tuple(arm.weight for arm in spec.arms))
    return tuple(policy.probabilities({}, state))


def _load_arms(
    served: Served, previous: LiveRevision | None, known: str, arms: list[LiveArm]
) -> None:
    """Load the arms one by one into `arms`."""
    spec = served.revision.spec
    kept = {}
    if previous is not None:
        was = previous.served
        same_runtime = was.revision.spec.runtime == spec.runtime
        for live in previous.arms:
            if not same_runtime and live.arm.model.endpoint is None:
                continue
            kept[_identity(live.arm, was.paths[live.index], was.python_of(live.index))] = live
    for index, (arm, path) in enumerate(zip(spec.arms, served.paths, strict=False)):
        endpoint = arm.model.endpoint
        same = kept.get(_identity(arm, path, served.python_of(index)))
        if same is not None:
            arms.append(LiveArm(arm, index, same.loaded, same.runner))
        elif endpoint is not None:
            loaded, remote = connect(endpoint, arm.name, strict=previous is not None)
            arms.append(LiveArm(arm, index, loaded, RemoteRunner(remote)))
        elif not path:
            branch = load_branch()
            arms.append(LiveArm(arm, index, branch, runner_of(branch, arm.name)))
        else:
            _LOG.info("loading %s (%s) from %s", arm.name, arm.model.label, path)
            loaded = load_model(
                Path(path),
                spec.runtime,
                python=served.python_of(index),
                slots=THREADS,
                known=KeptRuntimes(Path(known)) if known else None,
            )
            arms.append(LiveArm(arm, index, loaded, runner_of(loaded, arm.name)))


def _close_new(arms: Sequence[LiveArm], previous: LiveRevision | None) -> None:
    """Close the runners of arms that will not be used."""
    kept = {id(arm.runner) for arm in previous.arms} if previous else set()
    for arm in arms:
        if id(arm.runner) not in kept:
            arm.runner.close()


def runner_of(loaded: LoadedModel, arm: str) -> Runner:
    """Return a runner for a model: by where it runs, or how long its warm-up took."""
    if loaded.process is not None:
        return ProcessRunner(loaded.model, loaded.process, arm)
    joins = loaded.joined_row_ms < _JOINED_SHARE * loaded.row_ms
    thread = ThreadRunner(loaded.model, arm, joins=joins)
    # A model without an example was never timed; it may be slow.
    if not loaded.row_ms < _INLINE_MS:
        return thread
    if joins and loaded.row_ms > _GATHERED_MS and isinstance(loaded.model, Runtime):
        return GatheringRunner(loaded.model, thread)
    return InlineRunner(loaded.model, thread)


def _identity(arm: Arm, path: str, python: str) -> tuple[str, str, str]:
    """What two arms must have in common to share a model.

    An endpoint's errors also name its arm.
    """
    endpoint = arm.model.endpoint
    return path, python, f"{arm.name} {endpoint.ref}" if endpoint else ""


def _check_context(features: Sequence[str], arms: Sequence[LiveArm]) -> None:
    """Refuse a policy that uses features that no request has."""
    names = next((arm.signature.names for arm in arms if arm.signature.columns), ())
    check_features(features, names)


def _check_agreement(arms: list[LiveArm]) -> None:
    """Refuse arms that no single request could serve."""
    first = arms[0]
    for other in arms[1:]:
        ours, theirs = first.signature.columns, other.signature.columns
        missing = sorted({c.name for c in theirs if c.required} - {c.name for c in ours})
        if ours and theirs and missing:
            names = ", ".join(f"`{name}`" for name in missing[:5])
            raise InvalidInputError(
                f"Arm `{other.arm.name}` takes columns that `{first.arm.name}` does not: {names}.",
                hint="Arms of one experiment must take the same rows.",
            )
