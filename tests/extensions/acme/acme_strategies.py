"""The client side of a protocol, a training backend and an environment manager."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mlops.protocols.base import Payload, Prediction
from mlops.protocols.clients.base import as_table
from mlops.sinks import Event, Option, Refused, SinkKind, SinkPlace
from mlops.spec.wire import Wire
from mlops.training.environments import Environment
from mlops.training.runner import Bench, Runner
from mlops.training.runner.factory import open_local

WIRE = Wire(
    name="acme-csv",
    short="acme-csv",
    path=re.compile(r"(?P<base>.*?)(?P<path>)(?P<model>)(/acme/predict)?"),
    end="/acme/predict",
    example="acme-csv+http://host",
    health="{base}/readyz",
    signs=(re.compile(r"(?P<base>.*)(?P<path>)/acme/predict"),),
)


class Client:
    """Asks with lines of numbers, and reads such."""

    def encode(
        self, payload: Payload, parameters: Mapping[str, Any], columns: Mapping[str, str]
    ) -> bytes:
        _, rows = as_table(payload, columns)
        return "".join(f"{','.join(map(str, row))}\n" for row in rows).encode()

    def decode(self, body: bytes) -> Prediction:
        return np.array([float(line) for line in body.split()])


CLIENT = Client()


class Paper:
    """Writes the id of each event on a line."""

    def __init__(self, place: SinkPlace) -> None:
        self._file = Path(place.to)
        self._mark = place.options["mark"]

    def send(self, events: Sequence[Event]) -> list[Refused]:
        with self._file.open("a") as file:
            file.writelines(f"{self._mark} {event.id}\n" for event in events)
        return []

    def close(self) -> None:
        pass


PAPER = SinkKind(
    title="paper",
    example="/var/log/paper",
    make=Paper,
    options={"mark": Option("-", "before each line")},
)


@contextmanager
def open_bench(bench: Bench) -> Iterator[Runner]:
    bench.say("on Acme's bench")
    with open_local(bench) as runner:
        yield runner


def make_environment(file: Path, home: Path, note: Callable[[str], None]) -> Environment:
    note(f"Acme's environment for {file.name}")
    return Environment("acme-env", Path(sys.executable), metadata.version("mlflow"))
