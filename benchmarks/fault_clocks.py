"""Clocks that step back and forward, under commands and under a server, by libfaketime."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import durability
from agreement import disagreements
from common import state_of
from customers import Crowd
from fault_stage import AB, SPLITS, SkippedError, Stage, audit_verified, audited, becomes, port_of
from forked_commands import Said

_SHIFTS = ("-2d", "+400d", "-3600s", "+90s")


def clock(stage: Stage) -> Iterator[str]:
    """Step the clock of commands back and forward."""
    environ = {**os.environ, "LD_PRELOAD": _library()}
    yield from stage.must(*AB)
    for shift in _SHIFTS:
        environ["FAKETIME"] = shift
        for words in ((*AB, "--split", stage.chance.choice(SPLITS)), ("report",), ("status",)):
            yield from _must(stage, f"clock {shift}", environ, *words)
        yield from (f"clock {shift}: {each}" for each in disagreements(stage.project))
    yield from stage.must(*AB)
    yield from audit_verified(stage)


def server_clock(stage: Stage) -> Iterator[str]:
    """Step the clock of a running server under load, and of its worker and consumers with it."""
    shift = stage.project / "clock"
    shift.write_text("+0\n")
    environ = {
        **os.environ,
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        # A step of the system's clock leaves it alone.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    yield from _must(stage, "the clock is right", environ, *AB)
    crowd = Crowd(port_of(state_of(stage.project)), durability.bodies(stage.project), 2)
    with crowd.at_work():
        for _ in range(min(stage.rounds, 20)):
            to = stage.chance.choice(_SHIFTS)
            draft = shift.with_name("clock.new")
            draft.write_text(f"{to}\n")
            draft.replace(shift)
            before = crowd.acknowledged()
            if not becomes(lambda before=before: crowd.acknowledged() > before + 10):  # type: ignore[misc]
                yield f"clock {to}: feedback is not acknowledged any more"
            time.sleep(stage.chance.uniform(0.1, 0.5))
            yield from disagreements(stage.project)
        for words in (("status",), ("report",), (*AB, "--split", "70/30")):
            yield from stage.must(*words)
    told = crowd.diary()
    refused = {status: n for status, n in told.statuses.items() if status != 200}
    if refused:
        yield f"predictions were refused: {refused}"
    stage.say(f"{min(stage.rounds, 20)} steps; {len(told.acknowledged):,} outcomes acknowledged")
    yield from stage.must("stop", "wine")
    yield from audited(stage, crowd)
    yield from audit_verified(stage)


def _must(stage: Stage, when: str, environ: dict[str, str], *words: str) -> Iterator[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mlops", *words],
        cwd=stage.project, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = Said(words, done.returncode, done.stdout + done.stderr, 0.0)
    yield from (f"{when}: {fault}" for fault in said.faults())
    if done.returncode:
        yield f"{when}: mlops {' '.join(words)}: {said.text[-300:]}"


def _library() -> str:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise SkippedError("libfaketime is not installed (Debian: apt-get install libfaketime)")
    return str(library)
