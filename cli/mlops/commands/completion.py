"""Completion in a shell: what a REF, a deployment or an option's value may be.

Typer's protocol: the shell runs `mlops` with `_MLOPS_COMPLETE` set. Bash takes `@`, `:` and `=` for
ends of words, so that `wine@champ` arrives as three; they are put together again here, and only
what follows the last of those signs is answered.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_INSTRUCTION = "_MLOPS_COMPLETE"
_BREAKS = "@:="


def refs(incomplete: str) -> list[str]:
    """Complete a REF, also the one in `NAME=REF`."""
    from mlops.registry.known import known_refs
    from mlops.settings import load_settings

    before, sign, _ = incomplete.rpartition("=")
    return _starting(incomplete, [f"{before}{sign}{ref}" for ref in known_refs(load_settings())])


def models(incomplete: str) -> list[str]:
    """Complete the name of a registered model."""
    from mlops.registry.known import known_models
    from mlops.settings import load_settings

    return _starting(incomplete, known_models(load_settings()))


def deployments(incomplete: str) -> list[str]:
    """Complete the name of a deployment of this project."""
    from mlops.deployment.runtime_files import cluster_names, known_names
    from mlops.settings import load_settings

    settings = load_settings()
    return _starting(incomplete, sorted({*known_names(settings), *cluster_names(settings)}))


def rewards(incomplete: str) -> list[str]:
    """Complete the name of a reward."""
    from mlops.rewards import REWARDS

    return _starting(incomplete, REWARDS.names())


def runtimes(incomplete: str) -> list[str]:
    """Complete the name of a runtime."""
    from mlops.runtimes import AUTO, RUNTIMES

    return _starting(incomplete, [AUTO, *RUNTIMES])


def targets(incomplete: str) -> list[str]:
    """Complete the name of a target."""
    from mlops.deployment.targets import TARGETS

    return _starting(incomplete, TARGETS.names())


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Return a function that completes one of these values."""

    def complete(incomplete: str) -> list[str]:
        return _starting(incomplete, values)

    return complete


def _starting(text: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(text)]


@contextmanager
def words_of_bash() -> Iterator[None]:
    """Put Bash's words together while Typer completes them, and answer in the form Bash needs."""
    if os.environ.get(_INSTRUCTION) != "complete_bash":
        yield
        return
    words = os.environ.get("COMP_WORDS", "").split("\n")
    words, current, cut = _joined(words, int(os.environ.get("COMP_CWORD", "0")))
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(current)}
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            yield
    finally:
        for line in answer.getvalue().splitlines():
            sys.stdout.write(f"{line[cut:]}\n")


def _joined(words: list[str], current: int) -> tuple[list[str], int, int]:
    """Return words as they were typed, where the current one is, and how much of it is answered.

    >>> _joined(["mlops", "deploy", "--model", "wine", "@", "ch"], 5)
    (['mlops', 'deploy', '--model', 'wine@ch'], 3, 5)
    >>> _joined(["mlops", "predict", "w"], 2)
    (['mlops', 'predict', 'w'], 2, 0)
    """
    whole: list[str] = []
    position, cut = current, 0
    for index, word in enumerate(words[: current + 1]):
        signs = bool(word) and all(letter in _BREAKS for letter in word)
        follows = index > 0 and bool(words[index - 1]) and words[index - 1][-1] in _BREAKS
        if whole and (signs or follows) and index > 1:
            cut = len(whole[-1]) + (len(word) if signs else 0)
            whole[-1] += word
            position -= 1
        else:
            whole.append(word)
            cut = 0
    return whole, position, cut
