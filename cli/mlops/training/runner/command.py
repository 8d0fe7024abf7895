"""Reading an entry point's command: is it plain Python, so that a fork can replace it?"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What a shell would act upon, where it is not quoted.
_OPERATORS = frozenset(";&|<>()$`*?[]{}\n\\")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# Read when an interpreter starts or a library is loaded, which is over before a trial begins.
_TOO_EARLY = re.compile(r"PYTHON\w*|\w+_NUM_THREADS|LD_\w+|MALLOC_\w+")


@dataclass(frozen=True, slots=True)
class PythonCommand:
    """What `python script arguments` or `python -m module arguments` says.

    Attributes:
        module: Whether `target` is a module and not a file.
        target: What to run.
        arguments: What follows it.
    """

    module: bool
    target: str
    arguments: tuple[str, ...]


def read_command(text: str, folder: Path, python: Path, path: str) -> PythonCommand | str:
    """Return what a command line runs, or why only a shell can run it.

    Args:
        text: As MLflow would give it to `bash -c`.
        folder: Where it would be run.
        python: The interpreter that `python` has to mean.
        path: Where a shell would look for programs.
    """
    text = _joined(text)
    operator = _operator(text)
    if operator:
        return f"the command has a `{operator}` for the shell"
    words = shlex.split(text)
    if not words or not re.fullmatch(r"python[0-9.]*", Path(words[0]).name):
        return f"the command starts with `{words[0] if words else ''}` and not with python"
    found = shutil.which(words[0], path=path)
    if found is None or not _is_same(Path(found), python):
        return f"`{words[0]}` is {found or 'not found'}, and not {python}"
    rest = words[1:]
    while rest[:1] == ["-u"]:
        del rest[0]
    if len(rest) > 1 and rest[0] == "-m" and _MODULE.fullmatch(rest[1]):
        return PythonCommand(True, rest[1], tuple(rest[2:]))
    if not rest or rest[0].startswith("-"):
        return f"the command gives the option `{' '.join(rest[:1])}` to python"
    if not (folder / rest[0]).is_file():
        return f"`{rest[0]}` is not a file"
    return PythonCommand(False, rest[0], tuple(rest[1:]))


def too_early(environment: Mapping[str, str]) -> str:
    """Return a variable that a fork would see too late, if there is one."""
    return next((name for name in environment if _TOO_EARLY.fullmatch(name)), "")


def _is_same(found: Path, python: Path) -> bool:
    """Whether two names mean one interpreter of one environment."""
    same_folder = os.path.realpath(found.parent) == os.path.realpath(python.parent)
    return same_folder and os.path.realpath(found) == os.path.realpath(python)


def _joined(text: str) -> str:
    r"""Return a command without line continuations, and without an end of line at its end.

    >>> _joined("python train.py \\\n  --name 'a\\\nb'\n")
    "python train.py   --name 'a\\\nb'"
    """
    text = text.strip()
    if '"' in text:
        # Which quote is inside which would have to be known; the backslash is refused then.
        return text
    # Every second piece is between single quotes, where a shell leaves all as it is.
    return "'".join(
        piece if index % 2 else piece.replace("\\\n", "")
        for index, piece in enumerate(text.split("'"))
    )


def _operator(text: str) -> str:
    """Return the first character that a shell would act upon.

    >>> _operator("python train.py --name 'a; b'"), _operator("python train.py && date")
    ('', '&')
    """
    quote = ""
    for index, character in enumerate(text):
        if quote == "'":
            quote = "" if character == "'" else quote
        elif quote == '"':
            if character in "$`\\":
                return character
            quote = "" if character == '"' else quote
        elif character in "'\"":
            quote = character
        elif character in _OPERATORS or (
            character in "~#" and text[index - 1 : index] in ("", " ")
        ):
            return character
    return quote
