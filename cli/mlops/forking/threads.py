"""Native thread pools: one thread while the warm parent imports, their natural size in a run."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Which variables size a pool, the strongest first; by the name that threadpoolctl gives it.
_SIZED_BY: Mapping[str, tuple[str, ...]] = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
    "openmp": ("OMP_NUM_THREADS",),
    "numexpr": ("NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS"),
    "arrow": ("OMP_NUM_THREADS",),
}
#: Every variable that sizes a pool when its library is loaded.
VARIABLES = tuple(sorted({name for names in _SIZED_BY.values() for name in names}))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Have libraries that are imported in the block start no native threads."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def pools() -> Any:  # noqa: ANN401 - threadpoolctl has no types
    """Return the pools of all loaded libraries, for `restore`; None without threadpoolctl."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def restore(found: Any) -> None:  # noqa: ANN401 - as above
    """Give the pools the size that they would have had in this environment."""
    for pool in found.lib_controllers if found is not None else ():
        if pool.internal_api in _SIZED_BY:
            pool.set_num_threads(_natural(pool.internal_api))
    numexpr: Any = sys.modules.get("numexpr")
    arrow: Any = sys.modules.get("pyarrow")
    if hasattr(numexpr, "set_num_threads"):
        numexpr.set_num_threads(_natural("numexpr"))
    if hasattr(arrow, "set_cpu_count") and arrow.cpu_count() != _natural("arrow"):
        arrow.set_cpu_count(_natural("arrow"))


def native_threads() -> int:
    """How many threads the operating system counts in this process."""
    return len([*Path("/proc/self/task").iterdir()])


def python_threads() -> list[str]:
    """Names of Python's threads besides this one."""
    here = threading.current_thread()
    return [thread.name for thread in threading.enumerate() if thread is not here]


def _natural(pool: str) -> int:
    for variable in _SIZED_BY[pool]:
        first = os.environ.get(variable, "").partition(",")[0].strip()
        if first.isdigit() and int(first):
            return int(first)
    return len(os.sched_getaffinity(0))
