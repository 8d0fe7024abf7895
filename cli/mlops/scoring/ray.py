"""Chunks of a job as tasks of a Ray cluster, one that is there or one on this machine.

The rows are read here and the parts are written here, in their order: a cluster needs neither the
files nor the store, and parts and `_batch.json` are to the byte those of a job on this machine. A
task gets a chunk with the arms that were drawn for its rows, so that the key of the draw stays
here. Models travel once to each node; mlops and what they import must be installed there.
"""

from __future__ import annotations

import io
import os
import subprocess
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, TYPE_CHECKING, Any

from mlops import __version__
from mlops.cluster.ray import connect_ray, import_ray
from mlops.errors import InvalidInputError, MlopsError, RemoteError
from mlops.scoring.drawing import Draw
from mlops.scoring.job import Ask, Cells, Chunk, Job, scored

if TYPE_CHECKING:
    from types import ModuleType

#: Bytes of the models of a job, which Ray keeps in memory.
MAX_BYTES = 1 << 30
#: Times a chunk is begun again whose node is lost.
RETRIES = 3
# Chunks at once: two for each processor, so that none waits for the next, but not without limit.
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Model:
    """What makes one arm's model.

    Attributes:
        arm: Name of the arm.
        folder: Its MLflow model, on this machine.
        runtime: What executes it.
        python: Interpreter of its own environment on this machine; empty for none.
    """

    arm: str
    folder: Path
    runtime: str
    python: str = ""


#: Loads a model for as long as its process lives. Found by name on the nodes, so no closure.
Load = Callable[[Model], Ask]


@dataclass(frozen=True, slots=True)
class _Order:
    """What every task of a job needs.

    Attributes:
        id: Tells orders apart.
        version: Of mlops.
        job: Without what predicts, and without keys.
        models: Of its arms, in their order.
        load: Loads them.
        content: References to their packed folders; nothing where the nodes see them.
    """

    id: str
    version: str
    job: Job
    models: tuple[Model, ...]
    load: Load
    content: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class OnRay:
    """Gives the chunks of a job to Ray; an `Execute`.

    Attributes:
        models: Of the job's arms, in their order.
        load: Loads them on the nodes.
        address: Of the cluster; empty for one that is started on this machine.
        cpus: Processors that a chunk takes.
    """

    models: Sequence[Model]
    load: Load
    address: str = ""
    cpus: int = 1

    def __call__(self, job: Job, chunks: Iterator[Chunk]) -> Iterator[tuple[str, Cells]]:
        """Score chunks.

        Raises:
            InvalidInputError: Ray is not installed, or a model refuses a row.
            RemoteError: The cluster cannot be reached, or its nodes cannot load the models.
        """
        packed = [_packed(self.models)] if self.address else []
        ray = import_ray()
        connect_ray(ray, self.address)
        try:
            order = ray.put(self._order(job, tuple(map(ray.put, packed))))
            packed.clear()
            task = ray.remote(num_cpus=self.cpus, max_retries=RETRIES)(_score)
            yield from _in_order(ray, lambda chunk: task.remote(order, chunk), chunks, self.cpus)
        finally:
            ray.shutdown()

    def _order(self, job: Job, content: tuple[Any, ...]) -> _Order:
        arms = tuple(replace(scorer, ask=_unloaded) for scorer in job.scorers)
        blank = replace(job, scorers=arms, draw=Draw(job.draw.shares))
        return _Order(uuid.uuid4().hex, __version__, blank, tuple(self.models), self.load, content)


def _in_order(
    ray: ModuleType, submit: Callable[[Chunk], Any], chunks: Iterator[Chunk], cpus: int
) -> Iterator[tuple[str, Cells]]:  # fmt: skip
    """Yield results in the order of the chunks, with a bounded number of them under way."""
    running: deque[tuple[Chunk, Any]] = deque()
    fault: MlopsError | None = None
    more = True
    while more or running:
        while more and len(running) < _at_once(ray, cpus):
            try:
                chunk = next(chunks, None)
            except MlopsError as error:
                # Those before the row that cannot be read are written first, as without Ray.
                fault, chunk = error, None
            more = chunk is not None
            if chunk is not None:
                empty = replace(chunk, table=replace(chunk.table, columns={}))
                running.append((empty, submit(chunk)))
        if running:
            chunk, reference = running.popleft()
            yield chunk.key, _result(ray, chunk, reference)
    if fault is not None:
        raise fault


def _at_once(ray: ModuleType, cpus: int) -> int:
    """Return how many chunks may be under way; nodes may come and go."""
    total = int(ray.cluster_resources().get("CPU", 0))
    return max(2, min(_AT_ONCE, 2 * total // cpus))


def _result(ray: ModuleType, chunk: Chunk, reference: Any) -> Cells:  # noqa: ANN401 - Ray has no types
    try:
        columns: Cells = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MlopsError):
            raise error.cause from error
        raise RemoteError(
            f"`{chunk.file}`, from row {chunk.first}: a task on the cluster failed: "
            f"{error.cause!r}",
            hint=f"The nodes need mlops {__version__} and the packages of the models.",
        ) from error
    except ray.exceptions.RayError as error:
        raise RemoteError(
            f"`{chunk.file}`, from row {chunk.first}: its node was lost {RETRIES + 1} times: "
            f"{type(error).__name__}.",
            hint="Run the command again: what is written is not scored again. If the nodes lack "
            "memory, take a smaller `--chunk-rows`.",
        ) from error
    return columns


def _packed(models: Sequence[Model]) -> bytes:
    """Pack the folders of models, each under its index.

    Raises:
        InvalidInputError: They are too large.
    """
    size = sum(
        path.stat().st_size
        for model in models
        for path in model.folder.rglob("*")
        if path.is_file()
    )
    if size > MAX_BYTES:
        raise InvalidInputError(
            f"The models have {size >> 20} MiB, and {MAX_BYTES >> 20} MiB can be sent to a "
            "cluster.",
            hint="Score with `--backend local` on a node of the cluster.",
        )
    buffer = io.BytesIO()
    # Not a tar file: the first versions of Python 3.11 cannot unpack one safely (PEP 706).
    with zipfile.ZipFile(buffer, "w", strict_timestamps=False) as archive:
        for index, model in enumerate(models):
            for folder, _, names in os.walk(model.folder, followlinks=True):
                for path in (Path(folder, name) for name in names):
                    # Not a link that leads nowhere.
                    if path.is_file():
                        archive.write(path, Path(str(index), path.relative_to(model.folder)))
    return buffer.getvalue()


def _unloaded(*_: object) -> Sequence[Any]:
    raise AssertionError("models are loaded on the nodes")


# What a worker of Ray has loaded; it works for one job at a time.
_loaded: dict[str, tuple[Ask, ...]] = {}
# Ends of pipes; see `_lasting_folder`.
_ends: list[IO[bytes]] = []
_REMOVE = 'trap "" TERM INT; exec 3<&0; (cat <&3; rm -rf "$1") >/dev/null 2>&1 &'


def _score(order: _Order, chunk: Chunk) -> Cells:
    """Score a chunk in a worker of Ray."""
    if order.id not in _loaded:
        _loaded.clear()
        _loaded[order.id] = tuple(map(order.load, _unpacked(order)))
    arms = zip(order.job.scorers, _loaded[order.id], strict=True)
    job = replace(order.job, scorers=tuple(replace(arm, ask=ask) for arm, ask in arms))
    return scored(job, chunk)


def _unpacked(order: _Order) -> Sequence[Model]:
    if order.version != __version__:
        raise RemoteError(
            f"A node of the cluster has mlops {__version__}, and this machine has {order.version}.",
            hint="Install the same on both.",
        )
    if not order.content:
        return order.models
    folder = _lasting_folder()
    (content,) = import_ray().get(list(order.content))
    _extract(content, folder)
    return [replace(model, folder=folder / str(index)) for index, model in enumerate(order.models)]


def _extract(content: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            # A model may run a program that it brings.
            Path(archive.extract(info, folder)).chmod((info.external_attr >> 16) & 0o755)


def _lasting_folder() -> Path:
    """Make a folder that is there until this process ends: models read files later, too.

    Ray kills its workers and what they have started, so that nothing of theirs could remove it: a
    shell that is no child of the worker does, when the worker's end of a pipe closes.
    """
    folder = mkdtemp(prefix="mlops-batch-")
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _REMOVE, "sh", folder],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    if shell.stdin is not None:
        _ends.append(shell.stdin)
    shell.wait()
    return Path(folder)
