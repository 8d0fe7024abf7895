"""Disks that are full, or read-only, in every command."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from agreement import disagreements
from every_command import EVERY, LOOK
from fault_stage import AB, SkippedError, Stage, audit_verified

_SIZE = "64m"
_BLOCK = bytes(4096)
#: Bytes that a file may have, where mounting is not allowed: some files fit, larger ones do not.
_FILE_BYTES = (0, 512, 4096, 65536)


def full(stage: Stage) -> Iterator[str]:
    """Run every command with a full disk under `.mlops`, then with space again."""
    if os.geteuid() != 0:
        yield from _limited(stage)
        return
    with _disk(stage.project / ".mlops") as folder:
        yield from stage.must(*AB)
        filler = folder / "filler"
        failed = 0
        for left in (0, stage.chance.randrange(1, 10), stage.chance.randrange(10, 100)):
            for words in EVERY:
                _fill(filler, left)
                said = stage.run(*words)
                failed += said.code != 0
                yield from (f"{left} blocks left: {fault}" for fault in said.faults())
                yield from disagreements(stage.project, settled=False)
            filler.unlink()
            yield from stage.must(*AB)
            yield from disagreements(stage.project)
            yield from audit_verified(stage)
        stage.say(f"{failed} of {3 * len(EVERY)} commands refused, in a sentence")
        yield from stage.must("stop", "wine")


def _limited(stage: Stage) -> Iterator[str]:
    yield from stage.must(*AB)
    failed = 0
    for size in _FILE_BYTES:
        for words in EVERY:
            said = stage.run(*words, file_bytes=size)
            failed += said.code != 0
            yield from (f"files of {size} bytes: {fault}" for fault in said.faults())
        # Servers that were started inherit the limit.
        stage.run("stop", "wine")
        yield from stage.must(*AB)
        yield from disagreements(stage.project)
        yield from audit_verified(stage)
    stage.say(f"{failed} of {len(_FILE_BYTES) * len(EVERY)} commands refused, in a sentence")


def file_size(stage: Stage) -> Iterator[str]:
    """Run every command with a limit on the size of its files; needs no mount."""
    yield from _limited(stage)


def read_only(stage: Stage) -> Iterator[str]:
    """Run every command with a read-only disk, with a live server and without."""
    if os.geteuid() != 0:
        raise SkippedError("only root may make a folder read-only (or `unshare -rm` before it)")
    yield from stage.must(*AB)
    for lives in (True, False):
        if not lives:
            yield from stage.must("stop", "wine")
        failed: list[str] = []
        with _read_only(stage.project):
            for words in EVERY:
                said = stage.run(*words)
                if said.code:
                    failed.append(" ".join(words[:2]))
                yield from (f"server lives, {lives}: {fault}" for fault in said.faults())
                if said.code and words in LOOK and words[0] in ("status", "history", "report"):
                    yield f"mlops {words[0]} does not work: {said.text.strip()[-200:]}"
        stage.say(f"with{'' if lives else 'out'} a server: refused {', '.join(failed)}")
        yield from stage.must(*AB)
        yield from disagreements(stage.project)
        yield from audit_verified(stage)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """Put a folder on a small disk of its own, with what is in it."""
    away = folder.with_name("before")
    folder.rename(away)
    folder.mkdir(mode=0o700)
    options = f"size={_SIZE},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "mlops", str(folder)], check=True)
    try:
        shutil.copytree(away, folder, dirs_exist_ok=True, symlinks=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only for programs that start now; others keep what they have open."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(filler: Path, blocks_left: int) -> None:
    """Take all space of the disk but some blocks."""
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(_BLOCK):
            pass
    size = filler.stat().st_size
    os.truncate(filler, max(0, size - blocks_left * len(_BLOCK)))
