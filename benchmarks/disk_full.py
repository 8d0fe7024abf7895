"""A small disk for a journal, and how it fills up and gets space again."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from customers import Crowd, Diary

_SIZE = "16m"
_BLOCK = bytes(4096)
_SOON_S = 30.0
_INSUFFICIENT_STORAGE = 507
# Feedback may also find its batch in the middle of something; that is 503.
_REFUSALS = (_INSUFFICIENT_STORAGE, 503)


@dataclass(frozen=True, slots=True)
class Times:
    """When what happened, as `time.perf_counter` has it.

    Attributes:
        full: The first feedback was refused.
        freed: There was space again.
        recovered: Feedback was acknowledged again.
    """

    full: float
    freed: float
    recovered: float

    def figures(self, told: Diary) -> bool:
        """Print how customers fared; return whether refusals had the right status."""
        before = [took for at, took in told.latencies if at < self.full]
        during = [took for at, took in told.latencies if self.full <= at < self.freed]
        answers = Counter(status for at, status in told.feedback if self.full <= at < self.freed)
        print(f"disk full for {self.freed - self.full:.1f} s")
        print(f"predictions meanwhile: {len(during):,}")
        print(f"their p99: {_p99(during):.1f} ms, before it {_p99(before):.1f} ms")
        print(f"feedback meanwhile, by status: {dict(answers)}")
        print(f"acknowledged again {self.recovered - self.freed:.2f} s after there was space")
        odd = [status for _, status in told.feedback if status not in (200, *_REFUSALS)]
        return bool(during) and not odd and answers[_INSUFFICIENT_STORAGE] > 0


class SmallDisk:
    """A tmpfs that can be filled.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"

    def through_a_full_disk(
        self, crowd: Crowd, seconds: float, meanwhile: Callable[[], None]
    ) -> Times:
        """Let the crowd be, then with a full disk, then with space again, so long each.

        Args:
            crowd: At work.
            seconds: How long.
            meanwhile: Called once while the disk is full.
        """
        time.sleep(seconds)
        deadline = time.monotonic() + _SOON_S
        # SQLite goes on in space that it holds already, so the end comes a little later.
        while not crowd.statuses()[_INSUFFICIENT_STORAGE]:
            _check(deadline)
            self._fill()
        full = time.perf_counter()
        meanwhile()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._fill()
        freed = time.perf_counter()
        self._filler.unlink()
        deadline = time.monotonic() + _SOON_S
        seen = crowd.acknowledged()
        while crowd.acknowledged() == seen:
            _check(deadline)
            time.sleep(0.005)
        recovered = time.perf_counter()
        time.sleep(seconds)
        return Times(full, freed, recovered)

    def accounts(self, told: Diary) -> bool:
        """Print where decisions went; return whether each is written or counted as shed."""
        journal = next(self._folder.glob("*.db"))
        with contextlib.closing(sqlite3.connect(journal)) as database:
            written = database.execute("select count(*) from decisions").fetchone()[0]
            # Decisions without features, for want of space, are written.
            lost = "select coalesce(sum(n), 0) from losses where kind = 'decision'"
            shed = database.execute(lost).fetchone()[0]
        print(f"decisions: {written:,} written, {shed:,} shed, {len(told.told):,} in all")
        return bool(written + shed == len(told.told))

    def _fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while file.write(_BLOCK):
                pass
        time.sleep(0.02)


@contextlib.contextmanager
def fill_up(folder: Path) -> Iterator[SmallDisk]:
    """Mount a small disk at a folder; takes root, or `unshare -rm`."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=700", "mlops", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"no small disk at {folder}: {done.stderr.strip()}\nBe root, or use `unshare -rm`."
        )
    try:
        yield SmallDisk(folder)
    finally:
        # Servers have ended by now; a reader that has not would keep the mount, not the tests.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise SystemExit(f"not within {_SOON_S:g} s")


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1] * 1000 if len(seconds) > 1 else float("nan")
