"""What the pods of a deployment wrote."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence

from mlops.cluster import Cluster, get
from mlops.cluster.causes import selector
from mlops.cluster.pods import Container, Pod, log_lines, pods
from mlops.deployment.targets import platform_of
from mlops.errors import InvalidInputError, MlopsError, NotFoundError, RemoteError
from mlops.spec.place import Place

# How often new pods are looked for with `--follow`, in seconds.
_LOOK_S = 2.0
_RESTED_S = 1.0
_ALL = 1_000_000


def pod_logs(cluster: Cluster, place: Place, *, last: int, follow: bool) -> Iterator[str]:
    """Yield lines of all containers of all pods, each with the pod's and container's name before.

    Of a container that waits to be started again these are the lines it wrote before it ended.

    Args:
        cluster: Where.
        place: Of the revision.
        last: How many of the last lines of each container.
        follow: Continue with new lines, also of pods that come later.

    Raises:
        NotFoundError: There are no pods.
        MlopsError: They may not be read.
    """
    found = _find(cluster, place)
    if not found and not follow:
        raise NotFoundError(f"There is no pod of this deployment in {place}.", hint=_no_pods(place))
    if follow:
        yield from _Follower(cluster, place, last).lines()
        return
    for pod in reversed(found):
        for container in pod.containers:
            yield from _last_lines(cluster, pod, container, last)


def _no_pods(place: Place) -> str:
    shared = platform_of(place.target).shared_pods.format(namespace=place.namespace)
    return shared or "`mlops status` says what is there."


def _find(cluster: Cluster, place: Place) -> list[Pod]:
    """Return its pods, the newest first, each once."""
    lives = [live for ref in place.objects for live in [get(cluster, ref)] if live]
    selectors = dict.fromkeys(labels for live in lives if (labels := selector(live)))
    found = {pod.uid: pod for labels in selectors for pod in pods(cluster, labels)}
    return list(found.values())


def _last_lines(cluster: Cluster, pod: Pod, container: Container, last: int) -> Iterator[str]:
    if not container.state or (container.state == "waiting" and not container.restarts):
        # It has not begun, so there is nothing to ask for.
        yield f"{_prefix(pod, container)}({container.reason or 'not started'})\n"
        return
    before = container.state == "waiting"
    lines = log_lines(cluster, pod.name, container.name, last=last, previous=before)
    yield from _prefixed(pod, container, lines)
    if before:
        ended = "" if container.exit_code is None else f", exit code {container.exit_code}"
        yield f"{_prefix(pod, container)}({container.reason}{ended})\n"


def _prefixed(pod: Pod, container: Container, lines: Iterator[str]) -> Iterator[str]:
    prefix = _prefix(pod, container)
    try:
        for line in lines:
            yield prefix + line
    except NotFoundError:
        # A pod may go while it is read.
        yield f"{prefix}(it is gone)\n"
    except (InvalidInputError, RemoteError) as error:
        # Its node is away, or has dropped the log; those of the others are still of use.
        yield f"{prefix}({error.message})\n"


def _prefix(pod: Pod, container: Container) -> str:
    several = len(pod.containers) > 1
    return f"{pod.name}{f'/{container.name}' if several else ''}: "


class _Follower:
    """Reads all containers at once, and what comes later; a thread for each."""

    def __init__(self, cluster: Cluster, place: Place, last: int) -> None:
        self._cluster = cluster
        self._place = place
        self._last = last
        self._lines: queue.Queue[str | MlopsError] = queue.Queue()
        self._reading: set[tuple[str, str, int, str]] = set()

    def lines(self) -> Iterator[str]:
        """Yield lines until the reader has enough."""
        last, look = self._last, 0.0
        while True:
            if time.monotonic() >= look:
                self._start(_find(self._cluster, self._place), last)
                # A pod that starts later has lost no lines yet.
                last, look = _ALL, time.monotonic() + _LOOK_S
            try:
                line = self._lines.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if isinstance(line, MlopsError):
                raise line
            yield line

    def _start(self, found: Sequence[Pod], last: int) -> None:
        for pod in found:
            for container in pod.containers:
                key = (pod.uid, container.name, container.restarts, container.state)
                if key in self._reading or not container.state:
                    continue
                self._reading.add(key)
                if container.state == "waiting":
                    self._tell_waiting(pod, container, last)
                elif (*key[:3], "running") not in self._reading - {key}:
                    arguments = (pod, container, last)
                    threading.Thread(target=self._read, args=arguments, daemon=True).start()

    def _tell_waiting(self, pod: Pod, container: Container, last: int) -> None:
        """Say why a container waits, and what it wrote before unless that was read already."""
        before = (pod.uid, container.name, container.restarts - 1, "running")
        lines = 0 if before in self._reading else last
        for line in _last_lines(self._cluster, pod, container, lines):
            self._lines.put(line)

    def _read(self, pod: Pod, container: Container, last: int) -> None:
        while True:
            try:
                lines = log_lines(self._cluster, pod.name, container.name, last=last, follow=True)
                for line in lines:
                    self._lines.put(_prefix(pod, container) + line)
            except (NotFoundError, InvalidInputError):
                # It went, or its log did.
                return
            except RemoteError:
                # The connection ended after a long silence.
                last = 0
                time.sleep(_RESTED_S)
            except MlopsError as error:
                self._lines.put(error)
                return
            else:
                return
