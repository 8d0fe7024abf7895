"""A forked script against `python script.py`: same output, same exit code.

Every script runs both ways, in the same folder and environment, and what it wrote is compared as
it stands. None of them needs MLflow; the warm parent has it imported all the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import unified_diff
from itertools import count
from pathlib import Path

import pytest

import mlops
from mlops.settings import load_settings
from mlops.training.interrupts import signals_interrupt
from mlops.training.nested import VARIABLE
from mlops.training.project import read_project
from mlops.training.runner import Outcome, Runner, Trial, Work, open_runner
from mlops.training.runner.child import base_environment

_PROJECT = """
name: faithful
entry_points:
  main:
    parameters: {words: string}
    command: python {words}
"""

SCRIPTS = {
    "surroundings": """
import os, signal, sys, threading
import __main__
print(sys.argv, sys.orig_argv[1:], sys.path, os.getcwd(), __file__, __name__)
print(sorted(vars(__main__)), __spec__, __package__, type(__loader__).__name__, __doc__)
print(sys.stdin.read(), sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors)
print(sys.stdout.write_through, sys.stderr.line_buffering, sys.stdout.name, sys.stdout.mode)
odd = ("_", "SHLVL", "PYTEST_CURRENT_TEST")
print(sorted((k, v) for k, v in os.environ.items() if k not in odd))
print(threading.current_thread().name, threading.active_count(), sys.warnoptions, sys.flags)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP):
    print(number, signal.getsignal(number))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), os.umask(0o22))
print([name for name in ("mlops", "typer", "rich") if name in sys.modules])
print(sys.getrecursionlimit(), sys.prefix)
""",
    "exit-code": "import sys; print('before'); sys.exit(3)",
    "exit-words": "import sys; sys.exit('words')",
    "exit-none": "raise SystemExit",
    "exit-large": "raise SystemExit(259)",
    "exit-at-once": "import os; os._exit(4)",
    "raises": "def f():\n    raise ValueError('no')\ntry:\n    f()\nexcept ValueError as e:\n"
    "    raise KeyError('other') from e\n",
    "does-not-parse": "print('x'\n",
    "interrupted": "raise KeyboardInterrupt",
    "terminated": "import os; print('x'); os.kill(os.getpid(), 15); import time; time.sleep(9)",
    "killed": "import os; print('x'); os.kill(os.getpid(), 9)",
    "crashed": "import os; os.kill(os.getpid(), 11)",
    "hook": "import sys\nsys.excepthook = lambda *a: print('mine', a[0])\nraise ValueError",
    "c-level": "import os, subprocess, sys\nos.write(1, b'one\\n')\nprint('two')\n"
    "subprocess.run(['echo', 'three'])\nsys.stderr.write('four\\n')\nos.system('echo five')\n"
    "sys.stdout.buffer.write(b'six\\n')\nprint('seven', end='')",
    "warns": "import warnings; warnings.warn('careful'); warnings.warn('old', DeprecationWarning)",
    "threads": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.2), "
    "print('late'))).start()\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    "\nprint('main')",
    "thread-raises": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T')\n"
    "threading.excepthook = lambda a: print(a.exc_type)\nt.start(); t.join()",
    "at-exit": "import atexit\natexit.register(print, 'a')\natexit.register(print, 'b')\n"
    "class C:\n    def __del__(self): print('gone')\nc = C()\nprint('end')",
    "unclosed": "f = open('unclosed.txt', 'w'); f.write('kept')",
    "unclosed-read": "print(open('unclosed.txt').read())",
    "pickles": "import pickle\nclass C:\n    pass\n"
    "print(type(pickle.loads(pickle.dumps(C()))) is C, C.__module__)",
    "spawns": """
import multiprocessing
def double(n):
    return 2 * n
if __name__ == "__main__":
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(pool.map(double, [1, 2, 3]))
""",
    "loky": """
from joblib import Parallel, delayed
def double(n):
    return 2 * n
if __name__ == "__main__":
    print(Parallel(n_jobs=2)(delayed(double)(n) for n in range(4)))
    print(Parallel(n_jobs=2, backend="threading")(delayed(double)(n) for n in range(4)))
""",
    "forks": "import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nprint('one of two')",
    "changes-itself": "import os, sys, builtins, json\nos.environ['LEFT'] = 'behind'\n"
    "os.chdir('/')\nbuiltins.left = 1\nsys.path.insert(0, '/left')\njson.dumps = None",
    "sees-nothing-left": "import os, json\nprint(os.environ.get('LEFT'), os.getcwd())\n"
    "print(json.dumps([1]), hasattr(__builtins__, 'left'))",
    "imports-beside": "import beside, inner.deep\nprint(beside.__file__, inner.deep.__name__)",
    "pools": """
import numpy, pyarrow, sklearn.linear_model
from threadpoolctl import threadpool_info
print(sorted((p["internal_api"], p["num_threads"]) for p in threadpool_info()))
print(pyarrow.cpu_count(), (numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum())
""",
    "signals": "import signal, os\nsignal.signal(signal.SIGTERM, lambda *a: print('asked'))\n"
    "os.kill(os.getpid(), 15)\nprint('went on')",
}

# What nested runs get.
_LOCAL = {VARIABLE: "local"}


@dataclass(frozen=True, slots=True)
class Bench:
    """A runner over a folder of scripts, and the environment that it gives them."""

    runner: Runner
    folder: Path
    environment: dict[str, str]
    notes: list[str]
    numbers: Iterator[int]

    def warm(self, words: str) -> tuple[int, str]:
        run_id = f"run{next(self.numbers)}"
        (outcome,) = self.runner.run([Trial(run_id, "0", {"words": words})])
        return outcome.code, _text(outcome)

    def cold(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            # As MLflow has it: a shell gives the words to whatever `python` is.
            ["bash", "-c", '"$@"', "bash", "python", *words],
            cwd=self.folder,
            env=self.environment | {"MLFLOW_RUN_ID": "", "MLFLOW_EXPERIMENT_ID": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        code = done.returncode
        return (code if code >= 0 else 128 - code), done.stdout


def _text(outcome: Outcome) -> str:
    return outcome.log.read_text()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("faithful")
    (folder / "MLproject").write_text(_PROJECT)
    for name, text in SCRIPTS.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "beside.py").write_text("")
    (folder / "inner").mkdir()
    (folder / "inner" / "deep.py").write_text("import sys; print(sys.argv, sys.path[0], __name__)")
    settings = load_settings(folder, environ={})
    notes: list[str] = []
    work = Work(read_project(folder))
    with open_runner(work, settings, note=notes.append) as runner:
        environment = base_environment(settings, Path(sys.executable), _LOCAL)
        yield Bench(runner, folder, environment, notes, count())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_what_it_does_under_python(bench: Bench, name: str) -> None:
    cold_code, cold = bench.cold(f"{name}.py")
    code, warm = bench.warm(f"{name}.py")
    run_id = f"run{next(bench.numbers) - 1}"
    assert warm.replace(run_id, "").splitlines() == cold.splitlines()
    assert code == cold_code
    assert bench.notes == []


def test_siblings_draw_different_numbers(bench: Bench) -> None:
    script = "import random, numpy\nprint(random.random(), numpy.random.rand())"
    (bench.folder / "draws.py").write_text(script)
    texts = [bench.warm("draws.py")[1].split() for _ in range(2)]
    assert len({*texts[0], *texts[1]}) == 4


def test_a_module_runs_as_under_python_m(bench: Bench) -> None:
    package = bench.folder / "package"
    package.mkdir()
    script = "import sys, __main__\nprint(sys.argv, sys.path[0], __name__, __spec__.name, __file__)"
    for name in ("__init__", "__main__", "part"):
        (package / f"{name}.py").write_text(script)
    work = Work(read_project(_with_command(bench.folder, "python -m {words} --size 2")))
    settings = load_settings(bench.folder, environ={})
    with open_runner(work, settings, note=bench.notes.append) as runner:
        other = replace(bench, runner=runner)
        for module in ("package", "package.part", "package.none"):
            code, said = other.warm(module)
            # Python signs with the name it was started by: `python`, or that of this one.
            said = said.replace(
                f"{sys.executable}:", f"{Path(sys.executable).with_name('python')}:"
            )
            assert (code, said) == bench.cold("-m", module, "--size", "2")
    assert bench.notes == []


def _with_command(folder: Path, command: str) -> Path:
    (folder / "MLproject").write_text(_PROJECT.replace("python {words}", command))
    return folder


def test_the_warm_parent_needs_nothing_but_the_standard_library_of_us() -> None:
    """It runs in the project's own environment, and before the threads of NumPy are limited."""
    packages = str(Path(mlops.__file__).parent.parent)
    code = (
        f"import sys; sys.path.append({packages!r}); import mlops.training.warm.program\n"
        "names = {name.partition('.')[0] for name in sys.modules} - {'mlops', '__main__'}\n"
        "print(sorted(names - set(sys.stdlib_module_names)))"
    )
    # -S: without site-packages.
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture
def under_nohup() -> Iterator[None]:
    """Have all that is started ignore a closed terminal, as `nohup` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("under_nohup")
def test_under_nohup_a_closed_terminal_stops_nothing() -> None:
    with signals_interrupt():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL


@pytest.mark.usefixtures("clean_environ", "under_nohup")
def test_a_fork_of_the_command_is_as_faithful(ready_folder: Path) -> None:
    """`mlops train` forks its runs from itself, where a notebook starts a program for that."""
    (ready_folder / "MLproject").write_text(_PROJECT)
    (ready_folder / "surroundings.py").write_text(SCRIPTS["surroundings"])
    environ = os.environ | {"PYTHONPATH": str(Path(mlops.__file__).parent.parent)}
    words = ["-m", "mlops", "train", "--no-register", "-P", "words=surroundings.py"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ready_folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "own runner" not in done.stderr
    (log,) = (ready_folder / ".mlops" / "logs").glob("train-*.log")
    variables = base_environment(
        load_settings(ready_folder, environ={}), Path(sys.executable), _LOCAL
    )
    variables["PYTHONPATH"] = environ["PYTHONPATH"]
    run_id = log.stem.removeprefix("train-")
    cold = subprocess.run(
        ["bash", "-c", "python surroundings.py"],
        cwd=ready_folder,
        env=variables | {"MLFLOW_RUN_ID": run_id, "MLFLOW_EXPERIMENT_ID": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\n".join(unified_diff(log.read_text().split(), cold.stdout.split())) == ""
