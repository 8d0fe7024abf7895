"""Forking a process that has made its imports: its children start at once, and share their memory.

What makes it safe: the pools of BLAS, OpenMP and numexpr are limited to one thread before the
imports, so that no native thread is lost in the fork, and get their size back in the child; the
parent has one Python thread, and opens no database.
"""

from __future__ import annotations

import os
import sys
import warnings


def fork() -> int:
    """Fork this process, which has one Python thread.

    Python 3.12 and later warn if the system counts more: the allocator of pyarrow keeps a native
    thread, which holds no Python lock and which it stops and restarts around a fork itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*multi-threaded, use of fork", DeprecationWarning)
        return os.fork()
