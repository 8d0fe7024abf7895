"""The scenes of `faults.py`: each harms something and yields the promises that were broken."""

from __future__ import annotations

import base64
import contextlib
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
from pathlib import Path

import durability
from agreement import disagreements
from common import free_port, state_of, wait_for
from customers import Crowd
from every_command import EVERY, LOOK, REASON, WITH_ROWS, WITHOUT_MLFLOW
from fault_clocks import clock, server_clock
from fault_disks import file_size, full, read_only
from fault_stage import (
    AB,
    SPLITS,
    SkippedError,
    Stage,
    audited,
    becomes,
    get,
    port_of,
    post,
)
from faulty_proxy import FaultyProxy, Mode, faulty

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.postgresql import PostgreSQL, find_programs

#: Commands that read a whole journal, and its archive.
_READ_ALL = (("report",), ("journal", "export", "--out", "journal.csv"))
#: Address space beyond that of the imports, from which commands may or may not come through.
_MEMORY_MIB = (8, 32, 64, 128, 256, 512, 1024)
#: Every command gives MLflow up by then, also on a busy machine; one question waits 15 s.
_GIVES_UP_S = 60.0


def commands(stage: Stage) -> Iterator[str]:
    """Kill commands at random moments; the next one goes on and all records agree."""
    yield from stage.must(*AB)
    killed = 0
    for _ in range(stage.rounds):
        words = stage.chance.choice(_changes(stage.chance))
        said = stage.run(*words, kill_after_s=stage.chance.uniform(0.02, 1.5))
        killed += said.code == -signal.SIGKILL
        yield from said.faults()
        for fault in disagreements(stage.project, settled=False):
            yield f"mlops {' '.join(words)}, killed after {said.took_s:.2f} s: {fault}"
        yield from stage.must(*AB, "--split", stage.chance.choice(SPLITS))
        yield from disagreements(stage.project)
    stage.say(f"{killed} of {stage.rounds} commands were killed before they ended")


def _changes(chance: random.Random) -> list[tuple[str, ...]]:
    return [
        (*AB, "--split", chance.choice(SPLITS)),
        ("promote", "--arm", "wine-2", "--force", REASON),
        ("rollback",),
        ("models", "alias", "wine/2", f"alias{chance.randrange(3)}"),
        ("journal", "prune", "--older-than", "30"),
        ("journal", "archive", "--older-than", "0"),
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
    yield from stage.must(*AB, "--workers", "2")
    state = state_of(stage.project)
    port, pid = port_of(state), int(str(state["pid"]))
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
    yield from audited(stage, crowd)


def _children(pid: int) -> list[int]:
    said = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(text) for text in said.split()]


def files(stage: Stage) -> Iterator[str]:
    """Tear and corrupt files of `.mlops` while the server is down; commands say what is wrong."""
    yield from stage.must(*AB)
    yield from stage.must("keys", "create", "shop", "--scope", "predict,feedback")
    for words in WITH_ROWS:
        yield from stage.must(*words)
    yield from stage.must("report")
    yield from stage.must("journal", "archive", "--older-than", "0")
    yield from stage.must("stop", "wine")
    home = stage.project / ".mlops"
    whole = stage.project.with_name("whole")
    shutil.copytree(home, whole, symlinks=True)
    failed = 0
    for _ in range(stage.rounds):
        victim = _victim(home, stage.chance)
        how = _harm(victim, stage.chance)
        for words in (*stage.chance.sample(LOOK, 4), *_READ_ALL, (*AB, "--dry-run")):
            said = stage.run(*words)
            failed += said.code != 0
            for fault in said.faults():
                yield f"{how} {victim.relative_to(home)}: {fault}"
        shutil.rmtree(home)
        shutil.copytree(whole, home, symlinks=True)
    stage.say(f"{stage.rounds} files harmed; {failed} commands refused, in a sentence")
    yield from stage.must(*AB)
    yield from disagreements(stage.project)


def _victim(home: Path, chance: random.Random) -> Path:
    """Choose a part of `.mlops`, then a file of it; models have digests, and logs no meaning."""
    parts: dict[str, list[Path]] = {}
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.suffix not in (".lock", ".log"):
            part, *below = path.relative_to(home).parts
            if part == "artifacts" and below[0] == "journal":
                part = "archive"
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
    yield from stage.must(*AB)
    ended: dict[int, int] = {}
    for _ in range(min(stage.rounds, 40)):
        words = stage.chance.choice((*EVERY, ("report", "--html", "r.html"), AB))
        size = stage.chance.choice(_MEMORY_MIB)
        said = stage.run(*words, memory=size << 20)
        ended[said.code] = ended.get(said.code, 0) + 1
        for fault in said.faults():
            yield f"{size} MiB: {fault}"
    stage.say(f"exit codes: {ended}")
    yield from stage.must(*AB)
    yield from disagreements(stage.project)


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
            yield from stage.must(*AB)
            modes: tuple[Mode, ...] = ("refuse", "hang", "cut", "corrupt", "slow")
            for mode in modes:
                proxy.mode, proxy.delay_s = mode, 0.2
                proxy.drop()
                longest = ("", 0.0)
                some = stage.chance.sample(EVERY, min(len(EVERY), stage.rounds))
                for words in some:
                    said = stage.run(*words)
                    longest = max(longest, (words[0], said.took_s), key=lambda each: each[1])
                    yield from (f"MLflow, {mode}: {fault}" for fault in said.faults())
                    if said.took_s > _GIVES_UP_S and mode != "slow":
                        yield f"MLflow, {mode}: {' '.join(words)} took {said.took_s:.0f} s"
                    if said.code and words[0] in WITHOUT_MLFLOW:
                        yield f"MLflow, {mode}: {' '.join(words)} needs none, and fails"
                stage.say(f"{mode}: the longest was {longest[0]}, {longest[1]:.1f} s")
            proxy.mode = "fine"
            yield from stage.must(*AB)
            yield from stage.must("status")
        finally:
            del os.environ["MLFLOW_TRACKING_URI"]


def arms(stage: Stage) -> Iterator[str]:
    """Partition the router from a remote arm: the other arm answers, and so do health checks."""
    yield from stage.must("deploy", "--model", "wine/1", "--name", "far")
    far = port_of(state_of(stage.project, "far"))
    body = durability.bodies(stage.project)[0]
    try:
        with faulty(far, stage.chance) as proxy:
            os.environ["MLOPS_DEPLOY_PORT"] = str(durability.quiet_port())
            remote = f"far=mlflow+http://127.0.0.1:{proxy.port}"
            yield from stage.must("deploy", "--arm", "near=wine/2", "--arm", remote)
            port = port_of(state_of(stage.project))
            modes: tuple[Mode, ...] = ("refuse", "hang", "cut", "corrupt", "slow")
            for mode in modes:
                proxy.mode = mode
                proxy.drop()
                yield from _ask_both(stage, port, body, mode)
                proxy.mode = "fine"
                proxy.drop()
                # Our server leaves an arm that failed alone for a while.
                if not becomes(lambda: post(port, body, "far") == 200):
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
            status = post(port, body, arm)
            slowest[arm] = max(slowest[arm], time.monotonic() - started)
            counts[status] += 1
            if status not in (200, 502, 503, 504):
                yield f"{mode}: arm {arm} is answered {status}"
        if get(port, "/v2/health/live") != 200:
            yield f"{mode}: the health check fails"
        if slowest["far"] > 5:
            break
    shown = {arm: dict(counts) for arm, counts in statuses.items()}
    stage.say(f"{mode}: {shown}, slowest {slowest['near']:.2f} s and {slowest['far']:.2f} s")
    if set(statuses["near"]) != {200}:
        yield f"{mode}: the arm that is there suffers: {statuses['near']}"


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
            yield from stage.must(*AB)
            port = port_of(state_of(stage.project))
            crowd = Crowd(port, durability.bodies(stage.project), 2)
            with crowd.at_work():
                for _ in range(min(stage.rounds, 20)):
                    time.sleep(stage.chance.uniform(0.5, 2.0))
                    database.stop()
                    time.sleep(stage.chance.uniform(0.0, 1.0))
                    database.start()
                before = crowd.acknowledged()
                if not becomes(lambda: crowd.acknowledged() > before + 10):
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
    "server-clock": server_clock,
    "read-only": read_only,
    "full": full,
    "file-size": file_size,
    "commands": commands,
    "postgresql": postgresql,
    "workers": workers,
    "disk": disk,
    "server": server,
}
