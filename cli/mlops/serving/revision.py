"""A revision that is loaded and ready to answer."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from mlops.errors import InvalidInputError
from mlops.policies import POLICIES
from mlops.policies.base import Policy
from mlops.serving.models import load_model
from mlops.serving.models.base import LoadedModel
from mlops.spec.deployment import Arm
from mlops.spec.server import Served

_LOG = logging.getLogger(__name__)
# Below this a prediction costs less than handing it to a thread and back.
_INLINE_MS = 1.0


@dataclass(frozen=True, slots=True)
class LiveArm:
    """One arm with its model in memory.

    Attributes:
        arm: What the spec says of it.
        index: Its position in the revision.
        loaded: Its model.
        inline: Whether predicting is quick enough to stay on the event loop.
    """

    arm: Arm
    index: int
    loaded: LoadedModel
    inline: bool


@dataclass(frozen=True, slots=True)
class LiveRevision:
    """Everything a request needs, swapped as one pointer.

    Attributes:
        served: The revision and its model folders.
        arms: Its arms, loaded.
        policy: Draws among them.
        salt: Keeps the draws of one experiment apart from those of the next, so that a unit's
            arm in the last one does not decide its arm in this one.
    """

    served: Served
    arms: tuple[LiveArm, ...]
    policy: Policy
    salt: bytes


def load_revision(served: Served, previous: LiveRevision | None = None) -> LiveRevision:
    """Load every arm. Runs model code and may take seconds: never on the event loop.

    Args:
        served: What to load.
        previous: The revision that answers now; its models are kept where the folder is the same,
            so that a change of weights loads nothing.

    Raises:
        InvalidInputError: A model cannot be loaded, warmed or does not fit the others.
    """
    spec = served.revision.spec
    kept = dict(zip(previous.served.paths, previous.arms, strict=True)) if previous else {}
    arms = []
    for index, (arm, path) in enumerate(zip(spec.arms, served.paths, strict=True)):
        if path in kept:
            loaded = kept[path].loaded
        else:
            _LOG.info("loading %s (%s) from %s", arm.name, arm.model.label, path)
            loaded = load_model(Path(path))
        # A model without an example was never timed; it may be slow.
        inline = loaded.row_ms < _INLINE_MS
        arms.append(LiveArm(arm, index, loaded, inline))
    _check_agreement(arms)
    return LiveRevision(
        served=served,
        arms=tuple(arms),
        policy=POLICIES.load(spec.policy)([arm.weight for arm in spec.arms]),
        salt=hashlib.blake2b(spec.experiment.encode(), digest_size=16).digest(),
    )


def _check_agreement(arms: list[LiveArm]) -> None:
    """Refuse arms that no single request could serve."""
    first = arms[0]
    for other in arms[1:]:
        ours, theirs = first.loaded.signature.columns, other.loaded.signature.columns
        missing = sorted({c.name for c in theirs if c.required} - {c.name for c in ours})
        if ours and theirs and missing:
            names = ", ".join(f"`{name}`" for name in missing[:5])
            raise InvalidInputError(
                f"Arm `{other.arm.name}` takes columns that `{first.arm.name}` does not: {names}.",
                hint="Arms of one experiment must take the same rows.",
            )
