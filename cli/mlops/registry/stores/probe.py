"""Does a store work? A small file is put, got, listed and deleted, and each step timed."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlops.errors import MlopsError
from mlops.registry.stores import open_store, parse_location
from mlops.registry.stores.access import QUICK
from mlops.registry.stores.base import Store
from mlops.registry.stores.faults import fault

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

T = TypeVar("T")

_NAME = ".mlops-probe"
_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on a store.

    Attributes:
        name: `open`, `put`, `get`, `list` or `delete`.
        duration_s: How long it took in seconds.
    """

    name: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """What a store did.

    Attributes:
        uri: Its root.
        steps: What was tried; the last one failed if there is an error.
        error: What went wrong.
    """

    uri: str
    steps: tuple[Step, ...]
    error: MlopsError | None = None


def probe(uri: str, settings: StoreSettings, *, write: bool = True) -> Probe:
    """Try a store with a small file, which is gone afterwards.

    Args:
        uri: Its root.
        settings: Say how it is reached.
        write: Also put, get and delete; else it is only listed.

    Raises:
        InvalidInputError: The URI is not a store's.
    """
    parse_location(uri)
    steps: list[Step] = []
    try:
        store = _timed(steps, "open", lambda: open_store(uri, settings, QUICK))
    except MlopsError as error:
        return Probe(uri, tuple(steps), error)
    try:
        if write:
            _write_and_read(store, steps)
        else:
            _timed(steps, "list", lambda: next(iter(store.files()), None))
    except MlopsError as error:
        return Probe(uri, tuple(steps), error)
    finally:
        store.close()
    return Probe(uri, tuple(steps))


def _write_and_read(store: Store, steps: list[Step]) -> None:
    key = f"{_NAME}/{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "put", Path(folder) / "got"
        source.write_bytes(os.urandom(_SIZE))
        put = _timed(steps, "put", lambda: store.put(source, key))
        try:
            got = _timed(steps, "get", lambda: store.get(key, target))
            if got != put:
                raise _no_store(store)
            if put.key not in _timed(steps, "list", lambda: [f.key for f in store.files(_NAME)]):
                raise _no_store(store)
        except MlopsError:
            # What was put is deleted again, if possible.
            _quietly(lambda: store.delete(key))
            raise
        _timed(steps, "delete", lambda: store.delete(key))


def _no_store(store: Store) -> MlopsError:
    """Return the error that the store does not keep what it is given."""
    return fault("protocol", store.access, str(store.location))


def _quietly(act: Callable[[], None]) -> None:
    try:
        act()
    except MlopsError:
        return


def _timed(steps: list[Step], name: str, act: Callable[[], T]) -> T:
    started = time.monotonic()
    try:
        return act()
    finally:
        steps.append(Step(name, time.monotonic() - started))
