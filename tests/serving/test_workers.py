"""Several workers behind one port: what they must have in common, and what the end of one costs."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import pytest

from mlops.spec.access import Access, new_key, write_keys
from mlops.spec.request_id import read
from tests.serving.models import ROWS, records
from tests.serving.server import KEY, Json, Server, make_launch, reweighted, running, served
from tests.waiting import wait_until

_ASK = orjson.dumps({"dataframe_records": records(ROWS[:1])})
_CALLERS = 3
_TOKEN = "a-token-of-some-length"
_BEARER = f"Bearer {_TOKEN}"


@pytest.fixture(scope="module")
def pair(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers, which these tests may kill and whose revisions they may swap."""
    folder = tmp_path_factory.mktemp("pair")
    launch = replace(make_launch(folder, served(models, reward="squared-error")), workers=2)
    with running(launch, folder) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, with when its request was sent and it was there."""

    sent: float
    there: float
    status: int
    revision: int
    request_id: str
    body: bytes


class Line:
    """One connection, without a library between us and what happens to it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def post(self, path: str, body: bytes) -> Answered:
        """Send one request; an `OSError` says that no whole answer came."""
        sent = time.monotonic()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        self._socket.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while True:
            part = self._socket.recv(65_536)
            if not part:
                raise ConnectionResetError("closed before the answer was there")
            received += part
            top, _, rest = received.partition(b"\r\n\r\n")
            lines = top.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            if len(rest) >= int(headers.get("content-length", "1000000000")):
                break
        return Answered(
            sent,
            time.monotonic(),
            int(lines[0].split(" ")[1]),
            int(headers.get("x-mlops-revision", 0)),
            headers.get("x-mlops-request-id", ""),
            rest,
        )

    def close(self) -> None:
        self._socket.close()


def once(port: int, path: str = "/invocations", body: bytes = _ASK) -> Answered:
    """One request over a connection of its own."""
    with contextlib.closing(Line(port)) as line:
        return line.post(path, body)


@dataclass
class Load:
    """Callers that ask and tell until the block ends, each over connections old and new in turn."""

    port: int
    pause_s: float = 0.005
    answers: list[Answered] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    failures: list[OSError] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._run) for _ in range(_CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        kept: Line | None = None
        while not self._over.wait(self.pause_s):
            try:
                kept = kept or Line(self.port)
                answer = kept.post("/invocations", _ASK)
                self.answers.append(answer)
                self.answers.append(once(self.port))
                told = orjson.dumps({"request_id": answer.request_id, "reward": -1.0})
                receipt = once(self.port, "/feedback", told)
                # Who answered it may have been killed before the decision was written.
                fate = orjson.loads(receipt.body)["outcome"]["fate"]
                assert fate in ("accepted", "unmatched"), receipt
                self.acknowledged.append(answer.request_id)
            except OSError as error:
                self.failures.append(error)
                if kept is not None:
                    kept.close()
                kept = None
        if kept is not None:
            kept.close()


def workers(server: Server) -> list[Json]:
    return list(server.admin("GET", "/status").json["workers"])


def settle(server: Server) -> None:
    """Wait until both workers run, and have for longer than at once."""
    wait_until(
        lambda: all(
            each["state"] == "running" and time.time() * 1000 - each["since_ms"] > 1_050
            for each in workers(server)
        )
    )


def test_both_take_their_share_and_any_of_them_tells_all(pair: Server) -> None:
    before = pair.metrics()
    taken = {each["number"]: each["requests"] for each in workers(pair)}
    drawn: Counter[int] = Counter()
    asked = 1_600
    for _ in range(asked):
        answer = once(pair.port)
        drawn[read(KEY, answer.request_id).arm] += 1
    shares = [each["requests"] - taken[each["number"]] for each in workers(pair)]
    assert sum(shares) == asked
    # Five and a half standard deviations are seven per cent.
    assert all(0.43 * asked < share < 0.57 * asked for share in shares), shares
    assert abs(drawn[0] - asked / 2) < 5.5 * math.sqrt(asked / 4)
    for _ in range(6):
        pair.hang_up()  # the next connection may go to the other one
        after = pair.metrics()
        for index, arm in enumerate("ab"):
            labels = (("arm", arm), ("version", f"{arm}/1"))
            key = ("mlops_requests_total", (labels[0], ("code", "200"), labels[1]))
            assert after[key] - before[key] == drawn[index]
            count = ("mlops_request_duration_seconds_count", labels)
            assert after[count] - before[count] == drawn[index]
            expected = ("mlops_expected_requests_total", labels)
            assert after[expected] - before[expected] == asked / 2
        assert after[("mlops_revision", ())] == pair.state.launch.served.revision.number
    status = pair.admin("GET", "/status").json
    assert status["pid"] == pair.process.pid
    assert len({pair.process.pid, *(each["pid"] for each in status["workers"])}) == 3
    assert [arm["requests"] for arm in status["arms"]] == [
        after[("mlops_requests_total", (("arm", a), ("code", "200"), ("version", f"{a}/1")))]
        for a in "ab"
    ]


def test_feedback_that_comes_at_once_finds_its_decision_and_counts_once(pair: Server) -> None:
    before = pair.metrics()
    fates: Counter[str] = Counter()
    for _ in range(40):
        asked = once(pair.port)
        told = orjson.dumps({"request_id": asked.request_id, "truth": 1.0})
        for _ in range(2):
            receipt = orjson.loads(once(pair.port, "/feedback", told).body)
            fates[receipt["outcome"]["fate"]] += 1
    assert fates == {"accepted": 40, "duplicate": 40}
    after = pair.metrics()

    def grown(name: str) -> float:
        return sum(value - before.get(key, 0) for key, value in after.items() if key[0] == name)

    assert grown("mlops_truths_total") == 40
    assert grown("mlops_rewards_total") == 40
    assert grown("mlops_feedback_total") == 80


def test_no_one_who_has_seen_a_revision_sees_an_earlier_one(
    pair: Server, models: dict[str, Path]
) -> None:
    settle(pair)
    with Load(pair.port, pause_s=0) as load:
        for number in range(8):
            live = pair.state.launch.served
            new = reweighted(live, *((0.8, 0.2) if number % 2 else (0.3, 0.7)))
            reply = pair.swap(new)
            assert reply.status == 200, reply.body
            assert reply.json["revision"] == new.revision.number
            time.sleep(0.1)
        # One that cannot be loaded leaves all as it was.
        bad = replace(new, revision=replace(new.revision, number=99), paths=("/none", "/none"))
        assert pair.swap(bad).status == 409
        time.sleep(0.1)
    assert not load.failures
    last = pair.state.launch.served.revision.number
    assert {answer.status for answer in load.answers} == {200}
    assert {answer.revision for answer in load.answers} >= {last - 1, last}
    assert max(answer.revision for answer in load.answers) == last
    # Over all connections and callers: what was there before another was sent is not newer.
    ended = sorted(load.answers, key=lambda answer: answer.there)
    newest, at = 0, 0
    for answer in sorted(load.answers, key=lambda answer: answer.sent):
        while at < len(ended) and ended[at].there < answer.sent:
            newest, at = max(newest, ended[at].revision), at + 1
        assert answer.revision >= newest
    assert pair.swap(replace(served(models), revision=replace(
        served(models).revision, number=last + 1))).status == 200  # fmt: skip


def test_a_killed_worker_costs_what_it_was_answering_and_nothing_else(pair: Server) -> None:
    kills = 4  # `benchmarks/workers.py` plays more of them
    settle(pair)
    before = sum(each["restarts"] for each in workers(pair))
    seen: list[float] = []
    with Load(pair.port) as load:
        for number in range(kills):
            os.kill(workers(pair)[number % 2]["pid"], signal.SIGKILL)
            wait_until(lambda: sum(e["restarts"] for e in workers(pair)) == before + number + 1)  # noqa: B023
            settle(pair)
            pair.hang_up()  # its connection may have been to the one that is gone
            seen.append(sum(v for k, v in pair.metrics().items() if k[0] == "mlops_requests_total"))
            pair.hang_up()
    assert {answer.status for answer in load.answers} == {200}
    # Of each caller at most the one request that was under way.
    assert len(load.failures) <= kills * _CALLERS
    assert not [each for each in load.failures if isinstance(each, ConnectionRefusedError)]
    assert seen == sorted(seen), "a counter fell"
    assert len(load.acknowledged) > kills
    journal = pair.journal()
    stored = Counter(each.nonce for each in journal.observations() if each.truth is None)
    journal.close()
    wanted = {read(KEY, request_id).nonce for request_id in load.acknowledged}
    assert len(wanted) == len(load.acknowledged)
    assert {stored[nonce] for nonce in wanted} == {1}


def test_a_worker_that_is_told_to_end_refuses_no_request(pair: Server) -> None:
    settle(pair)
    for _ in range(40):
        once(pair.port)
    before = workers(pair)
    assert before[0]["requests"] > 0
    os.kill(before[0]["pid"], signal.SIGTERM)
    wait_until(
        lambda: (
            workers(pair)[0]["state"] == "stopping"
            # One that was quick has been replaced.
            or workers(pair)[0]["pid"] != before[0]["pid"]
        )
    )
    ended = False
    while not ended:
        assert once(pair.port).status == 200
        ended = workers(pair)[0]["pid"] not in (0, before[0]["pid"])
    settle(pair)
    assert workers(pair)[0]["restarts"] == before[0]["restarts"] + 1
    # All that it had counted is still counted.
    assert workers(pair)[0]["requests"] < before[0]["requests"]
    total = sum(arm["requests"] for arm in pair.admin("GET", "/status").json["arms"])
    assert total >= sum(each["requests"] for each in before)


def test_a_worker_that_is_started_again_has_the_key_of_the_others(pair: Server) -> None:
    """The file is read when all start: whoever read it later would call their ids forged."""
    settle(pair)
    before = workers(pair)
    file = Path(pair.state.launch.key_file)
    file.write_bytes(bytes(32))
    try:
        os.kill(before[0]["pid"], signal.SIGKILL)
        wait_until(lambda: workers(pair)[0]["restarts"] == before[0]["restarts"] + 1)
        settle(pair)
        for _ in range(20):
            assert read(KEY, once(pair.port).request_id).revision
        assert "was replaced" in "".join(pair.admin("GET", "/status").json["warnings"])
    finally:
        file.write_bytes(KEY)


def test_a_worker_that_is_started_again_has_the_token_of_the_others(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """The file is read when all start: whoever read it later would refuse who the others admit."""
    launch = replace(make_launch(tmp_path, served(models), token=_TOKEN), workers=2)
    file = Path(launch.token_file)
    with running(launch, tmp_path) as server:
        cases = (("another-token-than-before", "was replaced"), (None, "is gone"))
        for number, (content, said) in enumerate(cases):
            if content is None:
                file.unlink()
            else:
                file.write_text(content)
            os.kill(workers(server)[number]["pid"], signal.SIGKILL)
            wait_until(lambda: workers(server)[number]["restarts"] == 1)  # noqa: B023
            settle(server)
            codes = []
            for _ in range(8):
                server.hang_up()  # the next connection may go to the other one
                codes.append(server.predict(records(ROWS[:1]), authorization=_BEARER).status)
            assert codes == [200] * 8
            (warning,) = server.admin("GET", "/status").json["warnings"]
            assert warning.startswith(f"`{file}`")
            assert said in warning
            assert _TOKEN not in warning


def test_a_worker_that_is_started_again_has_the_keys_of_the_others(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """One that took a missing file for "no keys" would admit every caller of this machine."""
    file = tmp_path / "wine.keys"
    key, secret = new_key("shop", ["predict"])
    launch = replace(make_launch(tmp_path, served(models)), workers=2, access=Access(str(file)))
    with running(launch, tmp_path) as server:

        def codes(**headers: str) -> set[int]:
            found = set()
            for _ in range(8):
                server.hang_up()  # the next connection may go to the other one
                found.add(server.predict(records(ROWS[:1]), **headers).status)
            return found

        def restart(number: int) -> None:
            before = workers(server)[number]["restarts"]
            os.kill(workers(server)[number]["pid"], signal.SIGKILL)
            wait_until(lambda: workers(server)[number]["restarts"] == before + 1)
            settle(server)

        def warned() -> str:
            return "".join(server.admin("GET", "/status").json["warnings"])

        # Made while the server runs: the supervisor has to notice it, too.
        assert codes() == {200}
        file.write_text(write_keys([key]))
        wait_until(lambda: codes() == {401})
        wait_until(lambda: "INFO keys: " in server.log)
        bearer = f"Bearer {secret}"
        file.write_text("{")
        wait_until(lambda: "previous keys stay valid" in warned())
        restart(0)
        assert codes(authorization=bearer) == {200}
        assert codes() == {401}
        assert str(file) in warned()
        file.unlink()
        wait_until(lambda: "is gone" in warned())
        restart(1)
        restart(0)
        assert codes() == codes(authorization=bearer) == {401}
        assert "no API key is valid" in warned()
        file.write_text(write_keys([key]))
        wait_until(lambda: codes(authorization=bearer) == {200})
        wait_until(lambda: not warned())


def test_they_end_together_and_begin_again(pair: Server) -> None:
    settle(pair)
    pids = [each["pid"] for each in workers(pair)]
    number = pair.state.launch.served.revision.number
    assert pair.stop() == 0
    assert pair.state.stopped_ms is not None
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "INFO worker 2: loading" in pair.log
    with running(pair.state.launch, pair.folder) as again:
        assert once(again.port).revision == number
        journal = again.journal()
        events = [event.event for event in journal.revision_events()]
        journal.close()
        assert events.count("started") == 2
        assert events.count("stopped") == 1
        # Without its supervisor a worker is of no use, and ends by itself.
        pids = [each["pid"] for each in workers(again)]
        again.kill()
        wait_until(lambda: not any(_lives(pid) for pid in pids))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_cannot_start_ends_the_start(models: dict[str, Path], tmp_path: Path) -> None:
    broken = replace(served(models), paths=("/none", "/none"))
    server = Server(replace(make_launch(tmp_path, broken), workers=2), tmp_path)
    assert server.process.wait(60) == 3
    assert "ERROR worker 1: " in server.log
    server.kill()
