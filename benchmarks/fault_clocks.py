"""Clocks that step back and forward, under commands and under a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import durability
from agreement import disagreements
from common import state_of
from customers import Crowd
from fault_stage import AB, SPLITS, SkippedError, Stage, audit_verified, audited, becomes, port_of
from forked_commands import Said

_DAY_S = 86_400
_SHIFTS_S = (-2 * _DAY_S, 400 * _DAY_S, -3600, 90)


def clock(stage: Stage) -> Iterator[str]:
    """Step the clock of commands back and forward."""
    step, environ = _stepped(stage)
    yield from stage.must(*AB)
    for shift in _SHIFTS_S:
        step(shift)
        for words in ((*AB, "--split", stage.chance.choice(SPLITS)), ("report",), ("status",)):
            yield from _must(stage, f"clock {shift:+} s", environ, *words)
        yield from (f"clock {shift:+} s: {each}" for each in disagreements(stage.project))
    yield from stage.must(*AB)
    yield from audit_verified(stage)


def server_clock(stage: Stage) -> Iterator[str]:
    """Step the clock of a running server under load, and of its worker and consumers with it."""
    step, environ = _stepped(stage)
    yield from _must(stage, "the clock is right", environ, *AB)
    crowd = Crowd(port_of(state_of(stage.project)), durability.bodies(stage.project), 2)
    with crowd.at_work():
        for _ in range(min(stage.rounds, 20)):
            to = stage.chance.choice(_SHIFTS_S)
            step(to)
            before = crowd.acknowledged()
            if not becomes(lambda before=before: crowd.acknowledged() > before + 10):  # type: ignore[misc]
                yield f"clock {to:+} s: feedback is not acknowledged any more"
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
    # Where 30 days seem to have passed without a request, a report begins again.
    yield from audited(stage, crowd, folded=False)
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


def _stepped(stage: Stage) -> tuple[Callable[[int], None], dict[str, str]]:
    """Return what steps the clock by seconds, and the environment of programs that it steps."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SkippedError("there is no C compiler to build the clock with")
    library, file = stage.project / "stepped_clock.so", stage.project / "clock"
    source = Path(__file__).with_name("stepped_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)

    def step(shift_s: int) -> None:
        draft = file.with_name("clock.new")
        draft.write_text(f"{shift_s}\n")
        draft.replace(file)

    step(0)
    return step, {**os.environ, "LD_PRELOAD": str(library), "STEPPED_CLOCK": str(file)}
