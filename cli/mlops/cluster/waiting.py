"""Wait until objects do what they were asked for, or until it is known that they will not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from mlops.cluster.causes import PATIENCE_S, Cause, causes, explained, selector
from mlops.cluster.connect import Cluster
from mlops.cluster.objects import Manifest, delete, get, list_objects
from mlops.cluster.pods import newest_pods
from mlops.cluster.readiness import observed, standing, takes_time
from mlops.errors import NotAllowedError, RemoteError
from mlops.spec.place import ObjectRef

#: The reason of the error that something did not become ready.
NOT_READY = "not ready"
#: Seconds between two looks: few at first, as what changes little is there at once.
_POLL_S = (0.2, 2.0)
#: Seconds in which a controller has processed a change, whether or not it reports it.
_UNSEEN_S = 10.0
#: Kinds that are ready before the pods of a change are.
_ROLLS = ("InferenceService", "InferenceGraph")
_KNATIVE = "serving.knative.dev/revision"


class _Watched:
    """One object that is waited for.

    Attributes:
        ref: The object.
        ready: Whether it is ready.
        message: Where it is on the way there.
        live: As it was last seen.
    """

    def __init__(
        self, cluster: Cluster, ref: ObjectRef, version: str, patience_s: Mapping[str, float]
    ) -> None:
        self.ref = ref
        self.ready = False
        self.message = "no controller has looked at it yet"
        self.live: Manifest | None = None
        self._cluster = cluster
        self._version = version
        self._begun = time.monotonic()
        self._patience_s = patience_s
        self._since: dict[tuple[str, str], float] = {}
        self._before: frozenset[str] | None = None if version else frozenset()

    def look(self) -> None:
        """See how it is now.

        Raises:
            RemoteError: It will not become ready.
        """
        try:
            self.live = get(self._cluster, self.ref)
        except RemoteError as error:
            # A control plane that is being replaced is away for a moment.
            self.message = error.message
            return
        if self.live is None:
            raise RemoteError(f"{self.ref} is gone: it was deleted in the meantime.")
        found = standing(self.live)
        self.ready, self.message = found.ready, found.message
        if found.ready and self._unseen(self.live):
            self.ready, self.message = False, "its controller has not seen it yet"
        if found.fault:
            raise self.failed(found.fault)
        if self.ready:
            self.ready, self.message = self._behind(self.live)
        if not self.ready:
            cause = self._lasting()
            if cause is not None:
                raise self.failed("", cause)

    def _unseen(self, live: Manifest) -> bool:
        """Whether the object's status may still be that of an earlier generation."""
        return (
            observed(live) is None
            and live["metadata"]["resourceVersion"] == self._version
            and time.monotonic() - self._begun < _UNSEEN_S
        )

    def _behind(self, live: Manifest) -> tuple[bool, str]:
        """Say whether the Deployments behind an object have only pods of its newest state.

        KServe calls an object ready as long as pods of before answer.
        """
        label = selector(live) if live["kind"] in _ROLLS else ""
        try:
            found = (
                list_objects(self._cluster, "apps/v1", "Deployment", labels=label) if label else []
            )
        except (NotAllowedError, RemoteError):
            return True, self.message
        for each in found:
            # Knative has one for each of its revisions, and sends no one to a new one too early.
            behind = standing(each)
            if _KNATIVE not in (each["metadata"].get("labels") or {}) and not behind.ready:
                return False, behind.fault or behind.message
        return True, self.message

    def failed(self, fault: str, cause: Cause | None = None) -> RemoteError:
        """Return the error that says why it is not ready."""
        known = explained(self._cluster, self.live, cause) if self.live else ""
        words = ". ".join(text for text in (fault.rstrip("."), known) if text)
        return RemoteError(f"{self.ref} does not become ready: {words}", reason=NOT_READY)

    def _lasting(self) -> Cause | None:
        """Return what is wrong with its pods for longer than it may yet change."""
        labels = selector(self.live) if self.live else ""
        if not labels:
            return None
        try:
            found = list(causes(newest_pods(self._cluster, labels)))
        except (NotAllowedError, RemoteError):
            return None
        now = time.monotonic()
        if self._before is None:
            self._before = frozenset(cause.pod.uid for cause in found)
        if now - self._begun < _UNSEEN_S:
            # What failed before the change was not caused by it, and will soon be replaced.
            found = [cause for cause in found if cause.pod.uid not in self._before]
        seen = {(cause.pod.uid, cause.reason): cause for cause in found}
        self._since = {key: self._since.get(key, now) for key in seen}
        for key, cause in seen.items():
            if now - self._since[key] >= self._patience_s[cause.reason]:
                return cause
        return None


def wait_ready(
    cluster: Cluster,
    refs: Sequence[ObjectRef],
    timeout_s: float,
    on_wait: Callable[[str], None] = lambda _: None,
    *,
    changed: Mapping[ObjectRef, str] = MappingProxyType({}),
    patience_s: Mapping[str, float] = PATIENCE_S,
) -> None:
    """Return once all objects are ready.

    Args:
        cluster: Where.
        refs: Objects; kinds that need no time are ready as they are.
        timeout_s: How long to wait, in seconds.
        on_wait: Called with what is waited for, each time that changes.
        changed: Objects that were just changed, with the resource version that this gave them.
        patience_s: What may be wrong with a pod to how many seconds it may last.

    Raises:
        RemoteError: One will not become ready, or none did in time; with the reason.
    """
    deadline = time.monotonic() + timeout_s
    waiting = [
        _Watched(cluster, ref, changed.get(ref, ""), patience_s)
        for ref in refs
        if takes_time(ref.kind)
    ]
    said = ""
    pause = _POLL_S[0]
    while True:
        for each in waiting:
            each.look()
        waiting = [each for each in waiting if not each.ready]
        if not waiting:
            return
        text = "; ".join(f"{each.ref}: {each.message}" for each in waiting)
        if text != said:
            on_wait(text)
            said = text
        if time.monotonic() > deadline:
            raise waiting[0].failed(f"after {timeout_s:.0f} s, {waiting[0].message}")
        time.sleep(pause)
        pause = min(pause * 1.3, _POLL_S[1])


def remove(cluster: Cluster, ref: ObjectRef, timeout_s: float) -> None:
    """Delete an object and return once it is gone.

    Raises:
        RemoteError: It is still there after `timeout_s` seconds: its finalizers
            did not complete.
    """
    deadline = time.monotonic() + timeout_s
    if not delete(cluster, ref):
        return
    while (live := get(cluster, ref)) is not None:
        if time.monotonic() > deadline:
            waits = ", ".join(live["metadata"].get("finalizers") or []) or "its owner"
            raise RemoteError(f"{ref} was deleted and is still there: it waits for {waits}.")
        time.sleep(_POLL_S[0])
