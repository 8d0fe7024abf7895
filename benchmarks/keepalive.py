"""Keep-alive connections that ask at a steady rate and check every answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

_CONNECTIONS = 16
_UNITS = 50
_TIMEOUT_S = 20.0
_MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What a revision must answer.

    Attributes:
        experiment: Its experiment; units keep the growing arm within one.
        growing: Arm whose weight never falls within the experiment; empty if none is watched.
        predictions: For each arm, its model's own predictions, row by row.
    """

    experiment: int
    growing: str
    predictions: Mapping[str, Sequence[float]]


@dataclass(slots=True)
class Account:
    """What all connections saw.

    Attributes:
        revisions: What each revision must answer; written before it is swapped in.
        floor: Newest revision that an answer or a swap has shown; no request that is sent
            afterwards may be answered by an older one.
        answers: Requests answered as they must be.
        latencies: Seconds from request to answer.
        faults: What was not as it must be.
        kept: Units seen on the growing arm, by experiment.
    """

    revisions: dict[int, Expected] = field(default_factory=dict)
    floor: int = 0
    answers: int = 0
    latencies: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    kept: set[tuple[int, str]] = field(default_factory=set)

    def fault(self, text: str) -> None:
        """Write down what was wrong."""
        self.faults.append(text)
        if len(self.faults) > _MOST_FAULTS:
            raise SystemExit("\n".join(self.faults))


@contextlib.asynccontextmanager
async def asking(
    port: int, bodies: Sequence[bytes], rate: float, seen: Account
) -> AsyncIterator[None]:
    """Ask `rate` times a second during the block, over all connections together."""
    stop = asyncio.Event()
    pause = _CONNECTIONS / rate
    async with asyncio.TaskGroup() as tasks:
        for number in range(_CONNECTIONS):
            tasks.create_task(_ask_on(port, bodies, number, pause, seen, stop))
        try:
            yield
        finally:
            stop.set()


async def _ask_on(
    port: int,
    bodies: Sequence[bytes],
    number: int,
    pause: float,
    seen: Account,
    stop: asyncio.Event,
) -> None:
    """Use one connection to the end; one that breaks is a fault."""
    chance = random.Random(number)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.perf_counter() + pause * chance.random()
    try:
        while not stop.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += pause
            unit, row = f"{number}-{chance.randrange(_UNITS)}", chance.randrange(len(bodies))
            floor, sent = seen.floor, time.perf_counter()
            writer.write(_request(bodies[row], unit))
            head, body = await asyncio.wait_for(_answer(reader), _TIMEOUT_S)
            seen.latencies.append(time.perf_counter() - sent)
            _check(head, body, unit, row, floor, seen)
    except (OSError, EOFError, TimeoutError) as error:
        seen.fault(f"connection {number} broke: {error!r}")
    finally:
        writer.close()


def _request(body: bytes, unit: str) -> bytes:
    return (
        b"POST /invocations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"x-customer: %b\r\ncontent-length: %d\r\n\r\n%b"
    ) % (unit.encode(), len(body), body)


async def _answer(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    head = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    head[":status"] = status.split(" ")[1]
    return head, await reader.readexactly(int(head["content-length"]))


def _check(
    head: Mapping[str, str], body: bytes, unit: str, row: int, floor: int, seen: Account
) -> None:
    if head[":status"] != "200":
        seen.fault(f"status {head[':status']}: {body[:200]!r}")
        return
    number, arm = int(head["x-mlops-revision"]), head["x-mlops-arm"]
    if number < floor:
        seen.fault(f"revision {number} answered after {floor}")
    seen.floor = max(seen.floor, number)
    expected = seen.revisions[number]
    prediction = json.loads(body)["predictions"][0]
    if not math.isclose(prediction, expected.predictions[arm][row], rel_tol=1e-9):
        seen.fault(f"revision {number}, arm {arm}: {prediction} is not its model's prediction")
    key = (expected.experiment, unit)
    if arm == expected.growing:
        seen.kept.add(key)
    elif expected.growing and key in seen.kept:
        seen.fault(f"revision {number}: unit {unit} left the growing arm")
    seen.answers += 1
