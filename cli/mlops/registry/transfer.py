"""Transferring the files of a model, several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import RemoteError
from mlops.registry.artifact_digest import fault_of, sha256_of
from mlops.spec.content import Content, ContentFile, make_content

if TYPE_CHECKING:
    from mlops.registry.stores import File, Store

#: Called with the bytes done and the total.
Show = Callable[[int, int], None]

# Files at once. The stores divide large ones further.
_AT_ONCE = 4


class Meter:
    """Counts bytes for a progress bar; may be called from several threads.

    Args:
        total: How many are to come.
        show: Called after each step.
    """

    def __init__(self, total: int, show: Show) -> None:
        self._total = total
        self._show = show
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        """Add to the bytes done."""
        with self._lock:
            self._done += count
            self._show(self._done, self._total)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mlops-transfer")
    try:
        yield pool
    finally:
        # After a failure, or Ctrl-C, no further job is started.
        pool.shutdown(wait=True, cancel_futures=True)


def each(jobs: Iterable[Callable[[], object]]) -> None:
    """Run jobs, several at once; the first failure ends the rest and is raised."""
    with _pool() as pool:
        futures = [pool.submit(job) for job in jobs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()


def stat_all(store: Store, keys: Iterable[str]) -> list[File]:
    """Query a store about several files."""
    with _pool() as pool:
        return list(pool.map(store.stat, keys))


def upload(store: Store, folder: Path, files: Iterable[ContentFile], meter: Meter) -> None:
    """Upload files of a folder to a store."""

    def put(file: ContentFile) -> None:
        store.put(folder / file.path, file.path, sha256=file.sha256, on_bytes=meter)

    each([lambda file=file: put(file) for file in files])  # type: ignore[misc]


def download(store: Store, content: Content, folder: Path, meter: Meter) -> None:
    """Download a model, file by file; those of an earlier attempt are kept.

    Raises:
        RemoteError: A file is not what its manifest says.
    """

    def get(file: ContentFile) -> None:
        target = folder / file.path
        if fault_of(target, file) is None:
            meter(file.size)
            return
        got = store.get(file.path, target, on_bytes=meter)
        # The store compared it with the checksum it has, if it has one.
        fault = None if _same(got, file) else fault_of(target, file)
        if fault is not None:
            target.unlink(missing_ok=True)
            raise RemoteError(
                f"`{store.location}/{file.path}` is not what was pushed: it {fault}.",
                hint="Push the model again; the files there were changed or damaged.",
            )

    each([lambda file=file: get(file) for file in content.files])  # type: ignore[misc]


def download_listed(store: Store, files: Iterable[File], folder: Path, meter: Meter) -> Content:
    """Download files that no manifest lists; return what they are."""

    def get(file: File) -> ContentFile:
        got = store.get(file.key, folder / file.key, on_bytes=meter)
        return ContentFile(file.key, got.size, got.sha256 or sha256_of(folder / file.key))

    with _pool() as pool:
        return make_content(list(pool.map(get, files)))


def _same(got: File, file: ContentFile) -> bool:
    return (got.size, got.sha256) == (file.size, file.sha256)
