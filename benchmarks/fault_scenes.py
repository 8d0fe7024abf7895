"""The scenes of `faults.py`: each harms something and yields the promises that were broken."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import durability
from agreement import disagreements
from common import free_port, state_of, wait_for
from customers import Crowd
from faulty_proxy import FaultyProxy, Mode, faulty
from forked_commands import Said, command

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.postgresql import PostgreSQL, find_programs

_AB = ("deploy", "--ab", "wine/1", "wine/2")
_SPLITS = ("50/50", "70/30", "20/80", "90/10")
_COMES_BACK_S = 60.0
_REASON = "a fault is played"
_LOOK = (("status",), ("report",), ("history",), ("models", "list"), ("logs",), ("doctor",))
#: Address space beyond that of the imports, from which commands may or may not come through.
_MEMORY_MIB = (8, 32, 64, 128, 256, 512, 1024)


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


def commands(stage: Stage) -> Iterator[str]:
    """Kill commands at random moments; the next one goes on and all records agree."""
    yield from stage.must(*_AB)
    killed = 0
    for _ in range(stage.rounds):
        words = stage.chance.choice(_changes(stage.chance))
        said = stage.run(*words, kill_after_s=stage.chance.uniform(0.02, 1.5))
        killed += said.code == -signal.SIGKILL
        yield from said.faults()
        yield from disagreements(stage.project, settled=False)
        yield from stage.must(*_AB, "--split", stage.chance.choice(_SPLITS))
        yield from disagreements(stage.project)
    stage.say(f"{killed} of {stage.rounds} commands were killed before they ended")


def _changes(chance: random.Random) -> list[tuple[str, ...]]:
    return [
        (*_AB, "--split", chance.choice(_SPLITS)),
        ("promote", "--arm", "wine-2", "--force", _REASON),
        ("rollback",),
        ("models", "alias", "wine/2", f"alias{chance.randrange(3)}"),
        ("journal", "prune", "--older-than", "30"),
        ("stop", "wine"),
    ]


def server(stage: Stage) -> Iterator[str]:
    """Kill the server under load; nothing that was acknowledged is lost."""
    if not durability.main(stage.project, stage.rounds, 1.0):
        yield "a promise above"


def disk(stage: Stage) -> Iterator[str]:
    """Let the journal's disk fill up under load."""
    if os.geteuid() != 0:
        raise SkippedError("only root may mount a small disk (or `unshare -rm` before it)")
    if not durability.disk_full(stage.project, 2.0):
        yield "a promise above"


def workers(stage: Stage) -> Iterator[str]:
    """Kill worker processes and consumers under load; the supervisor brings them back."""
    yield from stage.must(*_AB, "--workers", "2")
    state = state_of(stage.project)
    port, pid = _port(state), int(str(state["pid"]))
    crowd = Crowd(port, durability.bodies(stage.project), 2)
    killed = 0
    with crowd.at_work():
        for _ in range(stage.rounds):
            time.sleep(stage.chance.uniform(0.1, 0.6))
            children = _children(pid)
            if children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stage.chance.choice(children), signal.SIGKILL)
                    killed += 1
            wait_for(f"http://127.0.0.1:{port}/v2/health/ready", 60)
    stage.say(f"{killed} child processes killed; {len(crowd.diary().acknowledged):,} outcomes")
    yield from disagreements(stage.project)
    yield from stage.must("status")
    yield from stage.must("stop", "wine")
    yield from _audited(stage, crowd)


def _audited(stage: Stage, crowd: Crowd) -> Iterator[str]:
    from audit import audit

    found = audit(stage.project / ".mlops" / "journal" / "wine.db", crowd.diary())
    if not found.sound:
        yield f"the journal: {found}"


def _children(pid: int) -> list[int]:
    said = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(text) for text in said.split()]


def _port(state: Mapping[str, Any]) -> int:
    return int(state["launch"]["port"])


def files(stage: Stage) -> Iterator[str]:
    """Tear and corrupt files of `.mlops` while the server is down; commands say what is wrong."""
    yield from stage.must(*_AB)
    yield from stage.must("stop", "wine")
    home = stage.project / ".mlops"
    whole = stage.project.with_name("whole")
    shutil.copytree(home, whole, symlinks=True)
    failed = 0
    for _ in range(stage.rounds):
        victim = _victim(home, stage.chance)
        how = _harm(victim, stage.chance)
        for words in (*stage.chance.sample(_LOOK[:4], 2), (*_AB, "--dry-run")):
            said = stage.run(*words)
            failed += said.code != 0
            for fault in said.faults():
                yield f"{how} {victim.relative_to(home)}: {fault}"
        shutil.rmtree(home)
        shutil.copytree(whole, home, symlinks=True)
    stage.say(f"{stage.rounds} files harmed; {failed} commands refused, in a sentence")
    yield from stage.must(*_AB)
    yield from disagreements(stage.project)


def _victim(home: Path, chance: random.Random) -> Path:
    """Choose a part of `.mlops`, then a file of it; models have digests, and logs no meaning."""
    parts: dict[str, list[Path]] = {}
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.suffix not in (".lock", ".log"):
            part = path.relative_to(home).parts[0]
            if part not in ("artifacts", "logs"):
                parts.setdefault(part, []).append(path)
    return chance.choice(parts[chance.choice(list(parts))])


def _harm(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    how = chance.choice(("emptied", "cut", "garbled", "removed"))
    if how == "removed":
        path.unlink()
        return how
    if how == "emptied":
        data = bytearray()
    elif how == "cut":
        data = data[: chance.randrange(len(data) + 1)]
    else:
        for _ in range(1 + len(data) // 100):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data)
    return how


def memory(stage: Stage) -> Iterator[str]:
    """Give commands less memory than they take; they end, and what is live goes on."""
    yield from stage.must(*_AB)
    ended: dict[int, int] = {}
    for _ in range(min(stage.rounds, 40)):
        words = stage.chance.choice((*_LOOK, ("report", "--html", "r.html"), _AB))
        size = stage.chance.choice(_MEMORY_MIB)
        said = stage.run(*words, memory=size << 20)
        ended[said.code] = ended.get(said.code, 0) + 1
        for fault in said.faults():
            yield f"{size} MiB: {fault}"
    stage.say(f"exit codes: {ended}")
    yield from stage.must(*_AB)
    yield from disagreements(stage.project)


def clock(stage: Stage) -> Iterator[str]:
    """Step the clock of commands back and forward, by libfaketime."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise SkippedError("libfaketime is not installed (Debian: apt-get install libfaketime)")
    yield from stage.must(*_AB)
    for shift in ("-2d", "+400d", "-3600s", "+90s"):
        environ = {**os.environ, "LD_PRELOAD": str(library), "FAKETIME": shift}
        for words in ((*_AB, "--split", stage.chance.choice(_SPLITS)), ("report",), ("status",)):
            done = subprocess.run(
                [sys.executable, "-m", "mlops", *words],
                cwd=stage.project, env=environ, capture_output=True, text=True, check=False,
            )  # fmt: skip
            said = Said(words, done.returncode, done.stdout + done.stderr, 0.0)
            yield from (f"clock {shift}: {fault}" for fault in said.faults())
            if done.returncode:
                yield f"clock {shift}: mlops {' '.join(words)}: {said.text[-300:]}"
        yield from (f"clock {shift}: {each}" for each in disagreements(stage.project))
    yield from stage.must(*_AB)


@contextlib.contextmanager
def _mlflow(stage: Stage) -> Iterator[FaultyProxy]:
    """Run an MLflow server with the project's store behind a proxy."""
    port = free_port()
    store = f"sqlite:///{stage.project / 'server.db'}"
    words = ("-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port))
    options = ("--artifacts-destination", str(stage.project / "server-artifacts"), "--workers", "1")
    server = subprocess.Popen(
        [sys.executable, *words, *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        with faulty(port, stage.chance) as proxy:
            yield proxy
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def mlflow(stage: Stage) -> Iterator[str]:
    """Take the MLflow server away, or make it slow, in every command."""
    shutil.copy(stage.project / ".mlops" / "mlflow.db", stage.project / "server.db")
    with _mlflow(stage) as proxy:
        os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{proxy.port}"
        try:
            yield from stage.must(*_AB)
            every = (*_LOOK[:5], (*_AB, "--dry-run"), ("train", "-P", "alpha=0.5"), ("rollback",))
            modes: tuple[Mode, ...] = ("refuse", "hang", "cut", "corrupt", "slow")
            for mode in modes:
                proxy.mode, proxy.delay_s = mode, 0.2
                proxy.drop()
                longest = ("", 0.0)
                for words in every:
                    said = stage.run(*words)
                    longest = max(longest, (words[0], said.took_s), key=lambda each: each[1])
                    yield from (f"MLflow, {mode}: {fault}" for fault in said.faults())
                stage.say(f"{mode}: the longest was {longest[0]}, {longest[1]:.1f} s")
            proxy.mode = "fine"
            yield from stage.must(*_AB)
            yield from stage.must("status")
        finally:
            del os.environ["MLFLOW_TRACKING_URI"]


def arms(stage: Stage) -> Iterator[str]:
    """Partition the router from a remote arm: the other arm answers, and so do health checks."""
    yield from stage.must("deploy", "--model", "wine/1", "--name", "far")
    far = _port(state_of(stage.project, "far"))
    body = durability.bodies(stage.project)[0]
    try:
        with faulty(far, stage.chance) as proxy:
            os.environ["MLOPS_DEPLOY_PORT"] = str(durability.quiet_port())
            remote = f"far=mlflow+http://127.0.0.1:{proxy.port}"
            yield from stage.must("deploy", "--arm", "near=wine/2", "--arm", remote)
            port = _port(state_of(stage.project))
            modes: tuple[Mode, ...] = ("refuse", "hang", "cut", "corrupt", "slow")
            for mode in modes:
                proxy.mode = mode
                proxy.drop()
                yield from _ask_both(stage, port, body, mode)
                proxy.mode = "fine"
                proxy.drop()
                # Our server leaves an arm that failed alone for a while.
                if not _becomes(lambda: _post(port, body, "far") == 200):
                    yield f"{mode}: the arm does not come back"
            yield from stage.must("status")
        log = next((stage.project / ".mlops").rglob("wine.log"))
        for line in re.findall(r"^Traceback.*", log.read_text(), re.MULTILINE):
            yield f"the router's log: {line}"
    finally:
        stage.run("stop", "far")


def _ask_both(stage: Stage, port: int, body: bytes, mode: str) -> Iterator[str]:
    statuses: dict[str, Counter[int]] = {"near": Counter(), "far": Counter()}
    slowest = dict.fromkeys(statuses, 0.0)
    for _ in range(min(stage.rounds, 20)):
        for arm, counts in statuses.items():
            started = time.monotonic()
            status = _post(port, body, arm)
            slowest[arm] = max(slowest[arm], time.monotonic() - started)
            counts[status] += 1
            if status not in (200, 502, 503, 504):
                yield f"{mode}: arm {arm} is answered {status}"
        if _get(port, "/v2/health/live") != 200:
            yield f"{mode}: the health check fails"
        if slowest["far"] > 5:
            break
    shown = {arm: dict(counts) for arm, counts in statuses.items()}
    stage.say(f"{mode}: {shown}, slowest {slowest['near']:.2f} s and {slowest['far']:.2f} s")
    if set(statuses["near"]) != {200}:
        yield f"{mode}: the arm that is there suffers: {statuses['near']}"


def _becomes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _COMES_BACK_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


def _post(port: int, body: bytes, arm: str) -> int:
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


def _get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def postgresql(stage: Stage) -> Iterator[str]:
    """End PostgreSQL as a crash does, and start it again, while feedback comes."""
    programs = find_programs()
    if programs is None:
        raise SkippedError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="mlops-faults-pg-") as folder:
        database = PostgreSQL(programs, Path(folder))
        database.start()
        os.environ["MLOPS_JOURNAL_URL"] = database.url
        try:
            yield from stage.must(*_AB)
            port = _port(state_of(stage.project))
            crowd = Crowd(port, durability.bodies(stage.project), 2)
            with crowd.at_work():
                for _ in range(min(stage.rounds, 20)):
                    time.sleep(stage.chance.uniform(0.5, 2.0))
                    database.stop()
                    time.sleep(stage.chance.uniform(0.0, 1.0))
                    database.start()
                before = crowd.acknowledged()
                if not _becomes(lambda: crowd.acknowledged() > before + 10):
                    yield "feedback is not acknowledged again"
            yield from disagreements(stage.project)
            yield from stage.must("report")
            yield from stage.must("stop", "wine")
            yield from _kept_there(database.url, crowd)
        finally:
            del os.environ["MLOPS_JOURNAL_URL"]
            database.stop()
    refused = {status: n for status, n in crowd.diary().statuses.items() if status != 200}
    if refused:
        yield f"predictions were refused: {refused}"
    stage.say(f"feedback by status: {dict(crowd.statuses())}")


def _kept_there(url: str, crowd: Crowd) -> Iterator[str]:
    """Hold what was acknowledged against the tables."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        # Each deployment has a schema of its own.
        (schema,) = connection.execute(
            "select table_schema from information_schema.tables where table_name = 'outcomes'"
        ).fetchone() or ("public",)
        query = sql.SQL("select nonce, count(*) from {} group by nonce")
        table = sql.Identifier(schema, "outcomes")
        rows = connection.execute(query.format(table)).fetchall()
    stored = {bytes(nonce): count for nonce, count in rows}
    wanted = {base64.urlsafe_b64decode(rid)[7:19] for rid in crowd.diary().acknowledged}
    if lost := wanted - stored.keys():
        yield f"{len(lost)} of {len(wanted)} acknowledged outcomes are lost"
    if doubled := sum(count > 1 for count in stored.values()):
        yield f"{doubled} outcomes are there more than once"


#: Name to scene, the cheap ones first.
SCENES: Mapping[str, Callable[[Stage], Iterator[str]]] = {
    "files": files,
    "memory": memory,
    "arms": arms,
    "mlflow": mlflow,
    "clock": clock,
    "commands": commands,
    "postgresql": postgresql,
    "workers": workers,
    "disk": disk,
    "server": server,
}
