"""A script executed in a forked child as `python script arguments` would execute it."""

from __future__ import annotations

import atexit
import builtins
import gc
import io
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

#: Modules of the `mlops` program that a script does not see unless it imports them itself.
OURS = ("mlops", "typer", "rich", "shellingham", "markdown_it", "mdurl")


def begin() -> None:
    """Release what a fork inherits from the warm parent, before its script is known."""
    for number in (signal.SIGTERM, signal.SIGCHLD, *hangup()):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _forget_ours()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Python's own generator does this by itself after a fork; siblings must not draw alike.
        numpy_random.seed()


def hangup() -> tuple[signal.Signals, ...]:
    """Return SIGHUP, or nothing under `nohup`, which has it ignored by all that is started."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return () if ignored else (signal.SIGHUP,)


def become(environment: Mapping[str, str], folder: Path, log: Path) -> None:
    """Give this process the environment of a program of its own.

    Args:
        environment: All of its variables.
        folder: Its working directory.
        log: Where standard output and error go; input is empty.
    """
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    open_streams()
    os.environ.clear()
    # MLflow gives the command to a shell, which notes where it is.
    os.environ.update(environment, PWD=str(folder))
    os.chdir(folder)


def open_streams() -> None:
    """Open Python's streams on the standard descriptors, unbuffered as with `python -u`."""
    # Python gives input and output one handler, and the command has set its own on the output.
    ours = getattr(sys.__stdin__, "errors", None) or "strict"
    for name, number, errors in (("stdout", 1, ours), ("stderr", 2, "backslashreplace")):
        before = getattr(sys, f"__{name}__")
        # Python's own start wraps the raw file, without a buffer between, in the same way.
        raw: Any = io.FileIO(number, "wb", closefd=False)
        raw.name = f"<{name}>"
        stream: Any = io.TextIOWrapper(
            raw,
            encoding=getattr(before, "encoding", None) or "utf-8",
            errors=errors,
            newline="\n",
            write_through=True,
        )
        stream.mode = "w"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def execute(module: bool, target: str, arguments: Sequence[str]) -> int:
    """Run a script, or a module as `python -m` does; `sys.path` is ready for it.

    Args:
        module: Whether `target` is a module's name and not a file.
        target: What to run.
        arguments: What follows it on the command line.

    Returns:
        Its exit code; minus a signal's number if it shall end by that signal.
    """
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = main
    sys.orig_argv = [sys.executable, *(["-m"] if module else []), target, *arguments]
    try:
        if module:
            sys.argv = ["-m", *arguments]
            runpy._run_module_as_main(target)  # type: ignore[attr-defined]
        else:
            sys.argv = [target, *arguments]
            _run_file(main, Path.cwd() / target)
    except SystemExit as error:
        return _exit_code(error)
    except KeyboardInterrupt as error:
        _report(error)
        return -signal.SIGINT
    except BaseException as error:  # noqa: BLE001 - what a script raises is its own affair
        _report(error)
        return 1
    return 0


def finish(code: int, before_end: Callable[[], None]) -> NoReturn:
    """End this process as Python ends: threads, exit functions, open files, streams.

    Args:
        code: As `execute` returns it.
        before_end: Called once the script's own threads have ended.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    except BaseException as error:  # noqa: BLE001 - Python reports it and then ends
        _report(error)
    with suppress(Exception):
        before_end()
    atexit._run_exitfuncs()
    space = sys.modules["__main__"].__dict__
    for name in [name for name in space if name != "__builtins__"]:
        # As Python does at its end: what is not referenced any more is closed and flushed.
        space[name] = None
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def _run_file(main: ModuleType, file: Path) -> None:
    place = os.path.abspath(file)  # noqa: PTH100 - as Python, which follows no links here
    main.__file__ = place
    main.__dict__["__cached__"] = None
    main.__loader__ = SourceFileLoader("__main__", place)
    code = compile(Path(place).read_bytes(), place, "exec", dont_inherit=True)
    exec(code, main.__dict__)  # noqa: S102 - this is what a runner is for


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _report(error: BaseException) -> None:
    """Print an exception's traceback as the script's own, without the frames above it."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _forget_ours() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in OURS:
            del sys.modules[name]
