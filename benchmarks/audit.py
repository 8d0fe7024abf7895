"""Hold a journal against what customers wrote down.

Nothing here uses our own reading of journals or request ids, but for the evidence that is compared
with the fold made here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from customers import Diary

from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import gather

_OUTCOMES = """
    select o.nonce, o.revision, o.arm, o.reward, o.truth, d.nonce is not null
    from outcomes o left join decisions d using (nonce)
"""
_SPECS = "select revision, spec from revisions where event in ('started', 'live')"
_PER_ARM = "{name}: n = {n:,}, mean reward {mean:.6f}"


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found; all but the last two should be 0.

    Attributes:
        lost: Acknowledged outcomes that the journal does not have.
        doubled: Outcomes that it has more than once.
        altered: Outcomes with another value than was sent.
        miscredited: Outcomes credited to another revision or arm than the headers said.
        uninvited: Outcomes that were never sent, or that were refused.
        misfolded: Arms whose n or mean reward in the evidence differ from the fold made here.
        unmatched: Outcomes, credited all the same, whose decision is not in the journal.
        undecided: Predictions whose decision is not in the journal.
    """

    lost: int
    doubled: int
    altered: int
    miscredited: int
    uninvited: int
    misfolded: int
    unmatched: int
    undecided: int

    @property
    def sound(self) -> bool:
        """Whether all promises were kept."""
        return not any(getattr(self, item.name) for item in fields(self)[:-2])


@dataclass(frozen=True, slots=True)
class _Stored:
    revision: int
    arm: str
    reward: float | None
    truth: float | None
    joined: bool


def audit_copy(journal: Path, diary: Diary) -> Audit:
    """Compare what a killed server left, and leave it as it is for the next one.

    To open it would already recover it, and the next server is to be seen doing that.
    """
    with tempfile.TemporaryDirectory() as folder:
        for file in journal.parent.glob(f"{journal.name}*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, folder)
        # What is under way has no answer yet: everything that was sent may be there.
        return audit(Path(folder) / journal.name, replace(diary, doubtful=set(diary.sent)))


def audit(journal: Path, diary: Diary, say: Callable[[str], None] = lambda _: None) -> Audit:
    """Compare.

    Args:
        journal: SQLite file of the deployment.
        diary: What customers wrote down.
        say: Called with the state of each arm on the way.
    """
    stored, decided, rows = _read(journal)
    ids = {_nonce(rid): rid for rid in diary.sent}
    ours = {rid: stored[nonce] for nonce, rid in ids.items() if nonce in stored}
    allowed = diary.acknowledged | diary.doubtful
    return Audit(
        lost=len(diary.acknowledged - ours.keys()),
        doubled=rows - len(stored),
        altered=sum(not _same_value(diary, rid, found) for rid, found in ours.items()),
        miscredited=sum(
            (found.revision, found.arm) != (diary.told[rid].revision, diary.told[rid].arm)
            for rid, found in ours.items()
        ),
        uninvited=len(stored) - len(ours.keys() & allowed),
        misfolded=_misfolded(journal, diary, ours, say),
        unmatched=sum(not found.joined for found in stored.values()),
        undecided=sum(_nonce(rid) not in decided for rid in diary.told),
    )


def _read(journal: Path) -> tuple[dict[bytes, _Stored], set[bytes], int]:
    with contextlib.closing(sqlite3.connect(journal)) as database:
        check = database.execute("pragma integrity_check").fetchone()[0]
        if check != "ok":
            raise SystemExit(f"the journal is damaged: {check}")
        specs = dict(database.execute(_SPECS))
        arms = {
            revision: [arm["name"] for arm in json.loads(spec)["arms"]]
            for revision, spec in specs.items()
        }
        rows = database.execute(_OUTCOMES).fetchall()
        decided = {nonce for (nonce,) in database.execute("select nonce from decisions")}
    stored = {
        nonce: _Stored(revision, arms[revision][arm], reward, truth, bool(joined))
        for nonce, revision, arm, reward, truth, joined in rows
    }
    return stored, decided, len(rows)


def _nonce(request_id: str) -> bytes:
    """The decision's identity: bytes 7 to 18 of the request id."""
    return base64.urlsafe_b64decode(request_id)[7:19]


def _same_value(diary: Diary, rid: str, found: _Stored) -> bool:
    key, value = diary.sent[rid]
    return (found.reward, found.truth) == ((value, None) if key == "reward" else (None, value))


def _misfolded(
    journal: Path, diary: Diary, stored: dict[str, _Stored], say: Callable[[str], None]
) -> int:
    """Count the arms that differ between our evidence and a fold of what customers know."""
    rewards: dict[str, list[float]] = defaultdict(list)
    for rid, found in stored.items():
        key, value = diary.sent[rid]
        if key == "reward":
            rewards[diary.told[rid].arm].append(value)
        elif found.joined:
            # Without its decision a truth has no prediction to be compared with.
            rewards[diary.told[rid].arm].append(-((diary.told[rid].prediction - value) ** 2))
    reader = SqlJournal(f"sqlite:///{journal}")
    evidence = gather(reader)
    reader.close()
    wrong = 0
    for index, arm in enumerate(evidence.spec.arms):
        theirs = evidence.rewards[evidence.arms == index]
        ours = rewards[arm.name]
        mean = math.fsum(ours) / len(ours) if ours else math.nan
        same = not ours or math.isclose(mean, theirs.mean(), rel_tol=1e-9)
        wrong += len(ours) != len(theirs) or not same
        say(_PER_ARM.format(name=arm.name, n=len(ours), mean=mean))
    return wrong
