"""Files of a journal's archived parts, in any artifact store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops.registry.stores import Store
    from mlops.settings.needs import StoreSettings


def fetch_from(settings: StoreSettings, *, hurry: bool = False) -> Callable[[str, str, Path], None]:
    """Return what brings a file: root of its store, key, and where to.

    Args:
        settings: Say how the store is reached.
        hurry: Give up soon, as others wait for the caller.
    """

    def fetch(location: str, key: str, target: Path) -> None:
        with opened(location, settings, hurry=hurry) as store:
            store.get(key, target)

    return fetch


def fetch(location: str, key: str, target: Path) -> None:
    """Bring a file in a process that has no project: what it finds in its environment counts.

    Raises:
        MlopsError: There is no such file, or the store cannot be reached.
    """
    from mlops.settings import load_settings

    settings = load_settings(flags={"artifacts.root": location})
    # That of a server, whose writer serves others too.
    fetch_from(settings, hurry=True)(location, key, target)


@contextlib.contextmanager
def opened(location: str, settings: StoreSettings, *, hurry: bool = False) -> Iterator[Store]:
    """Open a store for a while."""
    # A server passes by here at its start, and has no time for it.
    from mlops.registry.stores import open_store
    from mlops.registry.stores.access import PATIENT, Patience

    soon = Patience(attempts=2, timeout_s=10.0, deadline_s=30.0)
    store = open_store(location, settings, soon if hurry else PATIENT)
    try:
        yield store
    finally:
        store.close()
