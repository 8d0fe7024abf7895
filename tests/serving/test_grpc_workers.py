"""gRPC with several workers: they share its port, and the end of one costs what it was at."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

pytest.importorskip("grpc")

from mlops.spec.request_id import read
from tests.protocols.grpc_messages import message_of
from tests.serving.grpc_client import GrpcClient
from tests.serving.server import KEY, Server, make_launch, running, served
from tests.serving.test_grpc import TABLE
from tests.serving.test_workers import settle, workers
from tests.waiting import wait_until

_KILLS, _CALLERS = 4, 3
# HTTP/2, RFC 9113, sections 3.4, 4.1 and 6.5.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS, _MAX_STREAMS = 4, 3


@pytest.fixture(scope="module")
def pair(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("grpc-pair")
    launch = make_launch(folder, served(models, reward="squared-error"), grpc=True)
    with running(replace(launch, workers=2), folder) as server:
        yield server


@dataclass
class Load:
    """Callers that predict and tell over gRPC until the block ends, each over its own channel."""

    port: int
    answered: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
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
        # Else they would share one connection.
        client = GrpcClient(self.port, options=[("grpc.use_local_subchannel_pool", 1)])
        while not self._over.wait(0.005):
            said = client.infer(message_of(TABLE, raw=True), wait=True)
            if said.code != "OK":
                self.faults.append(said.code)
                continue
            self.answered.append(said.request_id)
            told = client.feedback({"request_id": said.request_id, "reward": -1.0}, wait=True)
            # Who answered it may have been killed before the decision was written.
            if told.code in ("OK", "NOT_FOUND"):
                self.acknowledged.append(said.request_id)
            else:
                self.faults.append(told.code)
        client.close()


def test_a_killed_worker_costs_what_it_was_answering_and_nothing_else(pair: Server) -> None:
    settle(pair)
    with Load(pair.launch.grpc_port) as load:
        for number in range(_KILLS):
            before = sum(each["restarts"] for each in workers(pair))
            os.kill(workers(pair)[number % 2]["pid"], signal.SIGKILL)
            wait_until(lambda: sum(e["restarts"] for e in workers(pair)) > before)  # noqa: B023
            settle(pair)
            pair.hang_up()
            seen = len(load.answered)
            wait_until(lambda: len(load.answered) > seen + 2 * _CALLERS)  # noqa: B023
    # Of each caller at most the one call that was under way.
    assert set(load.faults) <= {"UNAVAILABLE"}
    assert len(load.faults) <= _KILLS * _CALLERS
    assert len(load.acknowledged) > _KILLS
    journal = pair.journal()
    stored = Counter(each.nonce for each in journal.observations() if each.truth is None)
    journal.close()
    wanted = {read(KEY, request_id).nonce for request_id in load.acknowledged}
    assert len(wanted) == len(load.acknowledged)
    assert {stored[nonce] for nonce in wanted} == {1}


def test_a_connection_has_a_bounded_number_of_calls(pair: Server) -> None:
    """What arrives of them is in memory before anybody has looked at it."""
    with socket.create_connection(("127.0.0.1", pair.launch.grpc_port), timeout=60) as line:
        line.sendall(_PREFACE)
        received = b""
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3]):
            received += line.recv(4096)
    length, kind = int.from_bytes(received[:3]), received[3]
    assert kind == _SETTINGS
    pairs = dict(struct.iter_unpack(">HI", received[9 : 9 + length]))
    assert 64 <= pairs[_MAX_STREAMS] <= 256
