"""The other side: loads one model with the packages of its own environment, and answers.

    python -I child.py MODEL_FOLDER CONTROL_FD FD...

This file is run by path, and imports nothing of this package: only Python from 3.8, NumPy, pandas
and MLflow of any version. The same functions read and write messages on both sides.

A message is 8 bytes with the length of a JSON text, the text, and the bytes of the arrays that the
text refers to, whose lengths it begins with. Arrays travel as type, shape and bytes, which mean the
same to every NumPy; a pickle would not. In the text a list is a list, and whatever JSON has no form
for is an object with one key, which says what it is (`_Writer`, `_READERS`).

On the control socket the child says once how loading went; when it closes, the child ends.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

#: What a message holds: JSON data, arrays, tables and what is in their cells.
_Value = Any
_LENGTH = struct.Struct(">Q")
_PLAIN = {bool, int, float, str, type(None)}
# Kinds of arrays whose bytes mean the same everywhere: no objects.
_RAW = "biufcSUMm"
_JOIN = 65_536
# What code raises for rows that it was not written for; as in `mlops.runtimes.failures`.
_KINDS = (
    ("ValueError", ValueError),
    ("TypeError", TypeError),
    ("LookupError", LookupError),
    ("AttributeError", AttributeError),
    ("ArithmeticError", ArithmeticError),
    ("MemoryError", MemoryError),
    ("OSError", OSError),
)


def send(peer: socket.socket, value: object) -> None:
    """Send one message.

    Raises:
        TypeError: A value has no form in a message.
        OSError: The other side is gone.
    """
    writer = _Writer()
    tree = writer.write(value)
    text = json.dumps([[len(each) for each in writer.buffers], tree]).encode()
    head = _LENGTH.pack(len(text)) + text
    if sum(map(len, writer.buffers)) < _JOIN:
        peer.sendall(b"".join([head, *writer.buffers]))
        return
    peer.sendall(head)
    for buffer in writer.buffers:
        peer.sendall(buffer)


def receive(peer: socket.socket) -> _Value:
    """Receive one message.

    Raises:
        EOFError: The other side is gone.
        OSError: Likewise.
    """
    size = _LENGTH.unpack(_exactly(peer, _LENGTH.size))[0]
    sizes, tree = json.loads(bytes(_exactly(peer, size)))
    return _read(tree, [_exactly(peer, size) for size in sizes])


def _exactly(peer: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = peer.recv_into(view[done:])
        if not count:
            raise EOFError
        done += count
    return data


class _Writer:
    """Makes a JSON tree of a value, and puts the bytes of its arrays aside."""

    def __init__(self) -> None:
        self.buffers: list[bytes] = []

    def write(self, value: _Value) -> _Value:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind in (list, tuple):
            return value if _PLAIN.issuperset(map(type, value)) else [self.write(v) for v in value]
        if kind is dict:
            return {"dict": [[self.write(k), self.write(v)] for k, v in value.items()]}
        if kind is bytes:
            return {"bytes": base64.b64encode(value).decode()}
        return self._array_or_table(value)

    def _array_or_table(self, value: object) -> _Value:
        import numpy as np
        import pandas as pd

        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, pd.DataFrame):
            names = [self.write(name) for name in value.columns]
            kinds = set(value.dtypes)
            if len(kinds) == 1 and getattr(next(iter(kinds)), "kind", "-") in "biuf":
                # One block of numbers, as most rows are.
                return {"block": [names, self._array(value.to_numpy())]}
            return {"frame": [names, [self._column(value.iloc[:, i]) for i in range(len(names))]]}
        if isinstance(value, pd.Series):
            return {"series": [self.write(value.name), self._column(value)]}
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value))}
        if value is pd.NaT or value is pd.NA:
            return {"missing": "NaT" if value is pd.NaT else "NA"}
        if hasattr(value, "isoformat"):
            return {"time": [type(value).__name__, value.isoformat()]}
        if hasattr(value, "toarray"):  # a SciPy sparse matrix
            return self._array(np.asarray(value.toarray()))
        # Subclasses of what JSON has, such as enumerations of texts.
        for base in (bool, int, float, str):
            if isinstance(value, base):
                return base(value)
        if isinstance(value, dict):
            return self.write(dict(value))
        raise TypeError(f"a `{type(value).__name__}` cannot be sent to another process")

    def _array(self, array: _Value) -> _Value:
        if array.dtype.kind not in _RAW:
            return {"objects": [list(array.shape), [self.write(v) for v in array.ravel().tolist()]]}
        self.buffers.append(array.tobytes())
        return {"array": [array.dtype.str, list(array.shape), len(self.buffers) - 1]}

    def _column(self, column: _Value) -> _Value:
        import numpy as np

        if isinstance(column.dtype, np.dtype):
            return self._array(column.to_numpy())
        # Texts are objects to a pandas before 3, and to a model that was trained with one.
        name = str(column.dtype)
        is_text = name in ("str", "string")
        return {"typed": ["object" if is_text else name, [self.write(v) for v in column.tolist()]]}


def _read(tree: _Value, buffers: list[bytearray]) -> _Value:
    kind = type(tree)
    if kind in _PLAIN:
        return tree
    if kind is list:
        if _PLAIN.issuperset(map(type, tree)):
            return tree
        return [_read(each, buffers) for each in tree]
    ((name, content),) = tree.items()
    return _READERS[name](content, buffers)


def _read_dict(content: _Value, buffers: list[bytearray]) -> _Value:
    return {_read(key, buffers): _read(value, buffers) for key, value in content}


def _read_array(content: _Value, buffers: list[bytearray]) -> _Value:
    import numpy as np

    dtype, shape, index = content
    # Of a bytearray, so that a model may write to it.
    return np.frombuffer(buffers[index], dtype).reshape(shape)


def _read_objects(content: _Value, buffers: list[bytearray]) -> _Value:
    import numpy as np

    shape, values = content
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):  # At once, lists of one length would become a matrix.
        array[index] = _read(value, buffers)
    return array.reshape(shape)


def _read_frame(content: _Value, buffers: list[bytearray]) -> _Value:
    import pandas as pd

    names, columns = content
    cells = [_read(column, buffers) for column in columns]
    # Of objects, or pandas 3 would guess that they are texts.
    cells = [pd.Series(each, dtype=object) if each.dtype == object else each for each in cells]
    frame = pd.DataFrame(dict(enumerate(cells)))
    frame.columns = pd.Index([_read(name, buffers) for name in names], dtype=object)
    return frame


def _read_block(content: _Value, buffers: list[bytearray]) -> _Value:
    import pandas as pd

    names, array = content
    columns = pd.Index([_read(name, buffers) for name in names], dtype=object)
    return pd.DataFrame(_read(array, buffers), columns=columns)


def _read_series(content: _Value, buffers: list[bytearray]) -> _Value:
    import pandas as pd

    name, column = content
    cells = _read(column, buffers)
    return pd.Series(cells, dtype=cells.dtype, name=_read(name, buffers))


def _read_typed(content: _Value, buffers: list[bytearray]) -> _Value:
    import pandas as pd

    dtype, values = content
    return pd.Series([_read(value, buffers) for value in values], dtype=object).astype(dtype)


def _read_time(content: _Value, _buffers: list[bytearray]) -> _Value:
    import datetime as dt

    import pandas as pd

    name, text = content
    if name == "Timestamp":
        return pd.Timestamp(text)
    if name == "Timedelta":
        return pd.Timedelta(text)
    return getattr(dt, name).fromisoformat(text)


def _read_missing(content: _Value, _buffers: list[bytearray]) -> _Value:
    import pandas as pd

    return getattr(pd, content)


_READERS: dict[str, Any] = {
    "dict": _read_dict,
    "bytes": lambda content, _buffers: base64.b64decode(content),
    "array": _read_array,
    "scalar": lambda content, buffers: _read(content, buffers)[()],
    "objects": _read_objects,
    "frame": _read_frame,
    "block": _read_block,
    "series": _read_series,
    "typed": _read_typed,
    "time": _read_time,
    "missing": _read_missing,
}


def _failure(error: BaseException) -> dict[str, str]:
    """Say of an error what the other side needs to raise its like."""
    if type(error).__name__ == "MlflowException":
        kind = "MlflowException"
    else:
        kind = next((name for name, base in _KINDS if isinstance(error, base)), "Exception")
    return {"kind": kind, "type": type(error).__name__, "message": str(error)}


def _bare(model: PyFuncModel) -> PyFuncModel:
    """Return a model that takes rows as they are: to look at their types costs MLflow more."""
    try:
        bare = copy.copy(model)
        bare._model_meta = metadata = copy.copy(model.metadata)
        metadata.signature = copy.copy(metadata.signature)
        metadata.signature.inputs = None
        return bare if bare.metadata is metadata else model
    except Exception:  # noqa: BLE001 - an MLflow that keeps them elsewhere; then it looks
        return model


def _answer(model: PyFuncModel, bare: PyFuncModel, peer: socket.socket) -> None:
    """Answer what comes on one connection, until it closes."""
    while True:
        try:
            rows, parameters, checked = receive(peer)
        except (EOFError, OSError):
            return
        try:
            # Models of old MLflows take no parameters.
            more = {"params": parameters} if parameters else {}
            said = [None, (bare if checked else model).predict(rows, **more)]
        except Exception as error:  # noqa: BLE001 - whatever a model raises
            said = [_failure(error), None]
        try:
            send(peer, said)
        except (TypeError, ValueError) as error:
            send(peer, [{"kind": "Exception", "type": "TypeError", "message": str(error)}, None])
        except OSError:
            return


def _classes(model: PyFuncModel) -> list[Any] | None:
    """Return `classes_` of what MLflow has wrapped, if it says."""
    try:
        wrapped = model._model_impl
        raw = getattr(wrapped, "sklearn_model", wrapped)
        raw = model.get_raw_model() if hasattr(wrapped, "get_raw_model") else raw
        found = raw.classes_.tolist()
    except Exception:  # noqa: BLE001 - flavours raise any error if there is no such model
        return None
    is_plain = isinstance(found, list) and _PLAIN.issuperset(map(type, found))
    return found if is_plain else None


def _load(folder: str) -> tuple[Any, dict[str, Any]]:
    """Load the model; return it and what to say of it."""
    import platform

    import mlflow
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(folder)
    versions = {"Python": platform.python_version(), "MLflow": mlflow.__version__}
    for name in ("numpy", "sklearn", "xgboost", "lightgbm", "torch", "tensorflow"):
        if name in sys.modules:
            versions[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return model, {"versions": versions, "classes": _classes(model)}


def main() -> None:
    """Load the model, report the result, then answer until the other side is gone."""
    # Ctrl-C in the server's terminal is meant for the server, whose end is seen here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = sys.argv[1]
    control, *peers = [socket.socket(fileno=int(number)) for number in sys.argv[2:]]
    # What a model prints goes where the server's log goes.
    os.dup2(2, 1)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.path.append(str(Path.cwd()))
    try:
        model, said = _load(folder)
    except Exception as error:  # noqa: BLE001 - whatever a model raises
        traceback.print_exc()
        send(control, {"error": f"{type(error).__name__}: {error}"})
        return
    send(control, said)
    bare = _bare(model)
    for peer in peers:
        threading.Thread(target=_answer, args=(model, bare, peer), daemon=True).start()
    try:
        receive(control)
    except (EOFError, OSError):
        # Not `sys.exit`, which would wait for a model that hangs.
        os._exit(0)


if __name__ == "__main__":
    main()
