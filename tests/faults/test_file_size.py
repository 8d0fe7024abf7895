"""A disk that takes no byte more, simulated by a limit on the size of files, without a mount."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.fixtures_deployment import Shop

_CHANGES = (
    ("keys", "create", "late", "--scope", "predict"),
    ("models", "alias", "wine/1", "late"),
    ("models", "push", "wine/1", "pushed"),
    ("deploy", "--model", "modelA"),
)
_RUN = """
import contextlib, io, json, resource, sys
from mlops.__main__ import run
# The limit ends the writing, not the program: Python ignores the signal that comes with it.
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
found = []
for words in json.loads(sys.argv[1]):
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = run(words)
    found.append([words, code, err.getvalue()])
print(json.dumps(found))
"""


def test_changes_say_that_there_is_no_space_and_leave_nothing(shop: Shop) -> None:
    run = shop.folder / ".mlops" / "run"
    before = sorted(path.name for path in run.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(_CHANGES)],
        cwd=shop.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words, code, err in json.loads(done.stdout):
        assert code in (3, 6), (words, err)
        assert "error" in err, words
        assert "Traceback" not in err + done.stderr, words
    left = {path.name for path in run.iterdir()} - set(before)
    assert left <= {"wine.keys-lock"}
