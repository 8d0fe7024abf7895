"""What the scenes of `faults.py` are played with, and how they look at what is left."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from customers import Crowd
from forked_commands import Said, command

AB = ("deploy", "--ab", "wine/1", "wine/2")
SPLITS = ("50/50", "70/30", "20/80", "90/10")
_COMES_BACK_S = 60.0


class SkippedError(Exception):
    """The scene cannot be played here."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scene is played with.

    Attributes:
        project: A project of its own with `wine/1` and `wine/2`, nothing deployed.
        rounds: How often to harm.
        chance: Chooses what and when.
        say: Prints a figure.
    """

    project: Path
    rounds: int
    chance: random.Random
    say: Callable[[str], None]

    def run(self, *words: str, **more: float) -> Said:
        """Run a command."""
        return command(self.project, *words, **more)  # type: ignore[arg-type] # memory is whole

    def must(self, *words: str) -> Iterator[str]:
        """Run a command that has to succeed."""
        said = self.run(*words)
        yield from said.faults()
        if said.code:
            yield f"mlops {' '.join(words)} ends with {said.code}: {said.text.strip()[-300:]}"


def audited(stage: Stage, crowd: Crowd, *, folded: bool = True) -> Iterator[str]:
    """Hold the journal against what customers were told, and so the report unless not `folded`."""
    from audit import audit

    found = audit(stage.project / ".mlops" / "journal" / "wine.db", crowd.diary())
    if not folded:
        found = replace(found, misfolded=0)
    if not found.sound:
        yield f"the journal: {found}"


def audit_verified(stage: Stage) -> Iterator[str]:
    """Have the audit trail checked."""
    said = stage.run("audit", "verify", "wine")
    yield from said.faults()
    if said.code:
        yield f"the audit trail: {said.text.strip()[-300:]}"


def port_of(state: Mapping[str, Any]) -> int:
    """Return the port of a deployment."""
    return int(state["launch"]["port"])


def becomes(condition: Callable[[], bool]) -> bool:
    """Wait until something holds; return whether it came to that."""
    deadline = time.monotonic() + _COMES_BACK_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


def post(port: int, body: bytes, arm: str) -> int:
    """Ask one arm; return the status, 0 for no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"content-type": "application/json", "X-Mlops-Arm": arm}
    try:
        connection.request("POST", "/invocations", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def get(port: int, path: str) -> int:
    """Return the status of a path, 0 for no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
