"""A shadow's model in a process of its own, which can neither slow the server nor crash it.

In a thread it would share the interpreter's lock with the event loop: a model that computes for
5 ms in Python makes every request wait for as long. The process has a lower priority, ends with
the server however that ends (its input closes), and is started again after it died or hung.

    python -m mlops.serving.shadow_process MODEL_FOLDER PYTHON RUNTIME KNOWN

Both ways a message is a length of 8 bytes and a pickle; only these two processes hold the pipes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any

from mlops.errors import InvalidInputError, MlopsError
from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.runtimes import AUTO

_LOG = logging.getLogger(__name__)
_LENGTH = struct.Struct(">Q")
_START_TIMEOUT_S = 300.0
_RESTART_PAUSE_S = 5.0
_NICENESS = 10


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is loaded.

    Attributes:
        path: Its folder.
        python: Interpreter of an environment of its own, empty for that of the server. The process
            then starts another one there.
        runtime: What is to execute it.
        known: Folder of the runtimes that were chosen before; empty for none.
    """

    path: str
    python: str = ""
    runtime: str = AUTO
    known: str = ""


class ShadowProcess:
    """Predicts in a child process; a `ServableModel`. Calls take turns.

    Making one starts the process and returns; `wait` returns once the model is loaded.

    Args:
        way: How its model is loaded.
        deadline_s: After so long without an answer the process is killed.
    """

    def __init__(self, way: Way, *, deadline_s: float = 30.0) -> None:
        self._way = way
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._not_before = 0.0
        self._child: subprocess.Popen[bytes] | None = self._start()

    def wait(self) -> None:
        """Wait until the model is loaded; once, and before the first prediction.

        Raises:
            InvalidInputError: It cannot be.
        """
        with self._lock:
            assert self._child is not None
            try:
                self._handshake(self._child)
            except InvalidInputError:
                self._child = None
                raise

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """See `ServableModel.predict`."""
        with self._lock:
            child = self._alive()
            try:
                assert child.stdin is not None
                assert child.stdout is not None
                _send(child.stdin, (payload, dict(parameters)))
                answer = _receive(child.stdout, self._deadline_s)
            except TimeoutError:
                self._give_up(child)
                raise ProtocolError(
                    Kind.DEADLINE, f"The model took longer than {self._deadline_s:g} s."
                ) from None
            except (OSError, EOFError, pickle.PickleError) as error:
                self._give_up(child)
                raise ProtocolError(Kind.MODEL_FAILED, "The model's process died.") from error
        # An `MlopsError` could not be unpickled; its parts can.
        prediction: Prediction
        failure, prediction = answer
        if failure is not None:
            raise ProtocolError(*failure)
        return prediction

    def close(self) -> None:
        """End the process, also in the middle of a prediction."""
        self._closed.set()
        child = self._child
        if child is not None:
            child.kill()
        # Callers that waited for an answer have seen the end of the pipe by now.
        with self._lock:
            if self._child is not None:
                _end(self._child)
                self._child = None

    def _alive(self) -> subprocess.Popen[bytes]:
        """Return the running process, started again, after a pause, if it is gone.

        The caller waits in the meantime: to refuse thousands of copies would only fill the journal.
        """
        if self._child is None:
            if self._closed.wait(max(0.0, self._not_before - time.monotonic())):
                raise ProtocolError(Kind.NOT_READY, "The server no longer needs it.")
            try:
                self._child = self._start()
                self._handshake(self._child)
            except MlopsError as error:
                self._child, self._not_before = None, time.monotonic() + _RESTART_PAUSE_S
                raise ProtocolError(Kind.NOT_READY, error.message) from error
        return self._child

    def _give_up(self, child: subprocess.Popen[bytes]) -> None:
        _end(child)
        self._child = None
        self._not_before = time.monotonic() + _RESTART_PAUSE_S
        if not self._closed.is_set():
            _LOG.warning("the process of the shadow in %s has ended", self._way.path)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *astuple(self._way)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _handshake(self, child: subprocess.Popen[bytes]) -> None:
        """Receive the result of loading from a process that was started."""
        assert child.stdout is not None
        try:
            said = _receive(child.stdout, _START_TIMEOUT_S)
        except (OSError, EOFError, TimeoutError, pickle.PickleError):
            said = f"The process for the shadow in `{self._way.path}` did not start."
        if said is not None:
            _end(child)
            raise InvalidInputError(str(said))


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _send(pipe: IO[bytes], message: object) -> None:
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def _receive(pipe: IO[bytes], timeout_s: float) -> Any:  # noqa: ANN401 - what was sent
    """Read one message; the time counts until it begins to arrive."""
    if not select.select([pipe], [], [], timeout_s)[0]:
        raise TimeoutError
    head = _exactly(pipe, _LENGTH.size)
    return pickle.loads(_exactly(pipe, _LENGTH.unpack(head)[0]))  # noqa: S301 - from our own process


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    body = pipe.read(size)
    if len(body) < size:
        raise EOFError
    return body


def main() -> None:
    """Load the model, report the result, then answer until the input ends."""
    # Ctrl-C in the server's terminal is meant for the server, which then closes this input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the model prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    from mlops.runtimes.kept import KeptRuntimes
    from mlops.runtimes.load import load_model

    sys.path.append(str(Path.cwd()))
    try:
        way = Way(*sys.argv[1:])
        known = KeptRuntimes(Path(way.known)) if way.known else None
        model = load_model(Path(way.path), way.runtime, python=way.python, known=known).model
    except MlopsError as error:
        _send(answers, error.message)
        return
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    _send(answers, None)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            size = _LENGTH.unpack(_exactly(requests, _LENGTH.size))[0]
            payload, parameters = pickle.loads(_exactly(requests, size))  # noqa: S301 - as above
            try:
                answer: object = (None, model.predict(payload, parameters))
            except ProtocolError as error:
                answer = ((error.kind, error.message), None)
            _send(answers, answer)


if __name__ == "__main__":
    main()
