"""The models of a revision's shadows, ready to be asked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mlops.errors import InvalidInputError
from mlops.serving.models.remote import RemoteModel, connect
from mlops.serving.shadow_process import ShadowProcess, Way
from mlops.spec.deployment import Shadow

_LOG = logging.getLogger(__name__)
# How many copies an endpoint is asked about at a time; a local model is asked one by one.
_REMOTE_AT_ONCE = 4

ShadowModel: TypeAlias = ShadowProcess | RemoteModel


@dataclass(frozen=True, slots=True, eq=False)
class LiveShadow:
    """One shadow that is ready to be asked.

    Attributes:
        shadow: What the spec says of it.
        index: Its position among the shadows of the revision.
        way: How its model is loaded, unless it is an endpoint.
        model: Answers in a process of its own, or in another server.
        notes: What the user should know.
    """

    shadow: Shadow
    index: int
    way: Way
    model: ShadowModel
    notes: tuple[str, ...] = ()

    @property
    def at_once(self) -> int:
        """How many copies it may be asked about at a time."""
        return _REMOTE_AT_ONCE if isinstance(self.model, RemoteModel) else 1

    @property
    def identity(self) -> tuple[str, ...]:
        """What shadows of two revisions must share to share the model."""
        return _identity(self.shadow, self.way)


def start_shadows(
    shadows: Sequence[Shadow],
    ways: Sequence[Way],
    kept: Sequence[LiveShadow],
    *,
    strict: bool,
) -> tuple[LiveShadow, ...]:
    """Start the process of every shadow, or ask its endpoint; may take seconds.

    The processes load their models in the meantime; `wait_for` says when they are ready.

    Args:
        shadows: What to load.
        ways: How each is loaded; of no meaning for an endpoint.
        kept: Those that run now; their models are used again.
        strict: Whether an endpoint must answer.

    Raises:
        InvalidInputError: An endpoint does not answer; no process of these is left.
    """
    running: Mapping[tuple[str, ...], LiveShadow] = {each.identity: each for each in kept}
    loaded: list[LiveShadow] = []
    try:
        for index, (shadow, way) in enumerate(zip(shadows, ways, strict=True)):
            same = running.get(_identity(shadow, way))
            if same is not None:
                loaded.append(replace(same, shadow=shadow, index=index))
            else:
                loaded.append(_load(shadow, index, way, strict=strict))
    except InvalidInputError:
        end_shadows(loaded, kept)
        raise
    return tuple(loaded)


def wait_for(shadows: Sequence[LiveShadow], kept: Sequence[LiveShadow]) -> None:
    """Wait until the models of all that are not among `kept` are loaded.

    Raises:
        InvalidInputError: One cannot be.
    """
    known = {id(each.model) for each in kept}
    for shadow in shadows:
        if isinstance(shadow.model, ShadowProcess) and id(shadow.model) not in known:
            shadow.model.wait()


def end_shadows(shadows: Sequence[LiveShadow], kept: Sequence[LiveShadow]) -> None:
    """End the processes of all that are not among `kept`."""
    known = {id(each.model) for each in kept}
    for shadow in shadows:
        # An endpoint has connections only once it was asked, and is closed on the event loop.
        if isinstance(shadow.model, ShadowProcess) and id(shadow.model) not in known:
            shadow.model.close()


def _identity(shadow: Shadow, way: Way) -> tuple[str, ...]:
    endpoint = shadow.model.endpoint
    if endpoint:
        return shadow.name, endpoint.ref
    return shadow.name, shadow.model.source, way.path, way.python, way.runtime


def _load(shadow: Shadow, index: int, way: Way, *, strict: bool) -> LiveShadow:
    endpoint = shadow.model.endpoint
    if endpoint is not None:
        found, remote = connect(endpoint, shadow.name, strict=strict)
        return LiveShadow(shadow, index, way, remote, found.notes)
    _LOG.info("loading shadow %s (%s) from %s", shadow.name, shadow.model.label, way.path)
    return LiveShadow(shadow, index, way, ShadowProcess(way))
