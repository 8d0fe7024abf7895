"""This side: a proxy for a model that runs in a process and an environment of its own."""

from __future__ import annotations

import contextlib
import logging
import queue
import select
import signal
import socket
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlops.errors import MODEL_FAILED, InvalidInputError
from mlops.protocols.base import Kind, ProtocolError
from mlops.runtimes.isolated import child

_LOG = logging.getLogger(__name__)
_START_TIMEOUT_S = 300.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
#: A process that lived so long failed for a reason of its own, and not of its start.
_LONG_S = 60.0
_BASES = {base.__name__: base for base in (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError, OSError,
    Exception,
)}  # fmt: skip


class IsolatedModel:
    """A proxy for an `mlflow.pyfunc.PyFuncModel` that another process has loaded.

    Its errors are like those that the model raised there, by class and text. The process is started
    again when it has died, after a pause that doubles up to a minute; until then calls are refused
    at once. It ends with this one, however that ends. `predict` may be called from several threads.

    Args:
        python: Interpreter of its environment.
        path: Folder of the model.
        slots: Calls at once.

    Attributes:
        metadata: What its MLmodel file says, as MLflow reads it.
        slots: As given.
        fault: Why it cannot answer now; empty if it can.

    Raises:
        InvalidInputError: It cannot be loaded there.
    """

    def __init__(self, python: str, path: Path, *, slots: int = 1) -> None:
        from mlflow.models import Model

        self.metadata: Any = Model.load(str(path))
        self.slots = slots
        self.fault = ""
        self._python, self._path = python, path
        self._closed = threading.Event()
        self._child = _Child(python, path, slots)
        threading.Thread(target=self._watch, name=f"watch-{path.name}", daemon=True).start()

    @property
    def checked(self) -> Any:  # noqa: ANN401 - as MLflow's
        """The same model, for rows that have the types of its signature already."""
        return SimpleNamespace(predict=partial(self.predict, checked=True))

    def predict(
        self,
        rows: object,
        params: dict[str, Any] | None = None,
        *,
        checked: bool = False,
    ) -> Any:  # noqa: ANN401 - as MLflow's
        """Call the model.

        Args:
            rows: What MLflow hands to a model.
            params: Its parameters.
            checked: Whether the rows have the types of its signature already.

        Raises:
            ProtocolError: `NOT_READY` if its process is not there, `MODEL_FAILED` if it ended
                in the meantime.
            Exception: Of the kind that the model raised.
        """
        if self.fault:
            raise ProtocolError(Kind.NOT_READY, self.fault)
        failure, answer = self._child.ask([rows, params, checked])
        if failure is None:
            return answer
        if failure["kind"] == "MlflowException":
            from mlflow.exceptions import MlflowException

            raise MlflowException(failure["message"])
        raise type(failure["type"], (_BASES[failure["kind"]],), {})(failure["message"])

    def get_raw_model(self) -> Any:  # noqa: ANN401 - as MLflow's
        """Return what is known of the estimator: its `classes_`."""
        return SimpleNamespace(classes_=self._child.said["classes"])

    @property
    def note(self) -> str:
        """Where it runs, human-readable."""
        versions = self._child.said["versions"].items()
        named = ", ".join(f"{name} {version}" for name, version in versions)
        return f"runs in its own environment: {named}"

    @property
    def pid(self) -> int:
        """Its process, which may have ended."""
        return self._child.process.pid

    def end_process(self, why: str) -> None:
        """Kill the process, and with it every call under way; another one is started."""
        if not self.fault:
            self.fault = why
        self._child.process.kill()

    def close(self) -> None:
        """End the process for good."""
        self._closed.set()
        self._child.process.kill()

    def _watch(self) -> None:
        """Start the process again whenever it has ended."""
        pause_s = _FIRST_PAUSE_S
        while True:
            code = self._child.process.wait()
            self._child.close()
            if self._closed.is_set():
                return
            if time.monotonic() - self._child.started > _LONG_S:
                pause_s = _FIRST_PAUSE_S
            self.fault = self.fault or f"Its process ended ({_ending(code)}), and is started again."
            _LOG.warning("the model in %s: %s", self._path, self.fault)
            while not self._closed.wait(pause_s):
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                try:
                    self._child = _Child(self._python, self._path, self.slots)
                except InvalidInputError as error:
                    self.fault = error.message
                    _LOG.warning("%s", error.message)
                    continue
                self.fault = ""
                _LOG.info("the model in %s answers again", self._path)
                break
            if self._closed.is_set():
                # Closed while it was being started.
                self._child.process.kill()


class _Child:
    """One process, and the connections to it."""

    def __init__(self, python: str, path: Path, slots: int) -> None:
        # Sockets without a name, which no other process can open.
        pairs = [socket.socketpair() for _ in range(slots + 1)]
        theirs = [pair[1] for pair in pairs]
        self._control, *ours = (pair[0] for pair in pairs)
        self._sockets = ours
        self._free: queue.LifoQueue[socket.socket] = queue.LifoQueue()
        for each in ours:
            self._free.put(each)
        self.started = time.monotonic()
        numbers = [each.fileno() for each in theirs]
        # -I: nothing of this environment or of the working folder shadows a package of that one.
        words = [python, "-I", child.__file__, str(path), *map(str, numbers)]
        try:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=numbers)
        except OSError as error:
            self.close()
            raise InvalidInputError(f"`{python}` cannot be run: {error.strerror}.") from error
        finally:
            for each in theirs:
                each.close()
        self.said = self._handshake(path)

    def _handshake(self, path: Path) -> dict[str, Any]:
        """Receive the result of loading."""
        try:
            if not select.select([self._control], [], [], _START_TIMEOUT_S)[0]:
                raise EOFError
            said: dict[str, Any] = child.receive(self._control)
        except (EOFError, OSError):
            said = {"error": "its process ended, or did not finish in time"}
        if "error" in said:
            self.process.kill()
            self.process.wait()
            self.close()
            raise InvalidInputError(
                f"The model in `{path}` cannot be loaded in its own environment: {said['error']}",
                hint="`mlops logs` shows more; `--isolate never` loads it with what is installed.",
            )
        return said

    def ask(self, message: list[Any]) -> list[Any]:
        """Send one message and wait for the answer.

        Raises:
            ProtocolError: See `IsolatedModel.predict`.
        """
        peer = self._free.get()
        try:
            child.send(peer, message)
            answer: list[Any] = child.receive(peer)
        except (EOFError, OSError) as error:
            said = f"{MODEL_FAILED}: its process ended before it answered."
            raise ProtocolError(Kind.MODEL_FAILED, said) from error
        except TypeError as error:
            raise ProtocolError(Kind.MISMATCH, f"The rows cannot be sent: {error}.") from error
        finally:
            self._free.put(peer)
        return answer

    def close(self) -> None:
        """Close the connections; callers that wait for an answer get an error."""
        for each in (self._control, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _ending(code: int) -> str:
    """Say how a process ended.

    >>> _ending(-9), _ending(1)
    ('SIGKILL', 'exit code 1')
    """
    with contextlib.suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"
