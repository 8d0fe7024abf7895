"""Which code runs: the commit, and what differs from it.

Git is asked as a program, not through a library: it is quicker, and what it says is what the
user sees in `git status`. Nothing in the repository is written, not even its index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from mlops.errors import InvalidInputError
from mlops.settings.secrets import without_credentials

#: Bytes of the longest diff that is kept whole.
MAX_DIFF = 1 << 20
#: Files named in a record or a message.
MAX_NAMES = 200
_TIMEOUT_S = 30
# Variables with commit and branch of a job: GitHub, GitLab.
_JOBS = (("GITHUB_SHA", "GITHUB_REF_NAME"), ("CI_COMMIT_SHA", "CI_COMMIT_REF_NAME"))


@dataclass(frozen=True, slots=True)
class Code:
    """The state of a project's repository.

    Attributes:
        commit: Hash of HEAD; empty outside a repository and before the first commit.
        branch: Its branch; if HEAD is detached, the one a CI job is about, else empty.
        repository: Address of `origin` without credentials, empty if there is none.
        changed: Tracked files of the whole repository that differ from the commit.
        untracked: Files and folders within the project that git neither tracks nor ignores.
        diff: The changes of tracked files, as bytes of a patch; empty if it was not asked for.
        diff_cut: Whether the diff was longer than `MAX_DIFF` and ends early.
        why_unknown: Why there is no commit, else empty.
    """

    commit: str = ""
    branch: str = ""
    repository: str = ""
    changed: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    diff: bytes = field(default=b"", repr=False)
    diff_cut: bool = False
    why_unknown: str = ""

    @property
    def dirty(self) -> bool:
        """Whether the commit alone does not identify what ran."""
        return bool(self.changed or self.untracked)


def read_code(folder: Path, *, keep_diff: bool = True) -> Code:
    """Return the state of the repository around a folder; never fails.

    Args:
        folder: The project's.
        keep_diff: Whether to read the changes too.
    """
    if shutil.which("git") is None:
        return Code(why_unknown="there is no `git` program")
    try:
        return _read(folder, keep_diff=keep_diff)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return Code(why_unknown=without_credentials(said[0] if said else f"git: {error}"))
    except (subprocess.TimeoutExpired, OSError) as error:
        return Code(why_unknown=str(error))


def require_clean(code: Code, folder: Path, *, untracked: bool = False) -> None:
    """Refuse code that no commit describes.

    Args:
        code: The state of the repository.
        folder: The project's.
        untracked: Refuse files that git does not track, too. A job's own earlier steps leave some.

    Raises:
        InvalidInputError: Files differ from the commit, or there is none; the files are named.
    """
    if not code.commit:
        raise InvalidInputError(
            f"`--require-clean` wants a commit, but `{folder}` has none: {code.why_unknown}.",
            hint="git init && git add -A && git commit",
        )
    others = code.untracked if untracked else ()
    if code.changed or others:
        listed = [f"  modified   {name}" for name in code.changed]
        listed += [f"  untracked  {name}" for name in others]
        more = [f"  … and {len(listed) - MAX_NAMES} more"] if len(listed) > MAX_NAMES else []
        raise InvalidInputError(
            f"Working tree has uncommitted changes since commit {code.commit[:12]}:\n"
            + "\n".join([*listed[:MAX_NAMES], *more]),
            hint="Commit, stash or ignore them; or leave `--require-clean` out: the run then "
            "says that it is dirty.",
        )


def _read(folder: Path, *, keep_diff: bool) -> Code:
    prefix = _git(folder, "rev-parse", "--show-prefix").decode().rstrip("\n")
    if _is_ignored(folder):
        return Code(why_unknown="the repository around it ignores it")
    status = _git(folder, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
    commit, branch, changed, untracked = _parse(status, prefix)
    if not commit:
        return Code(untracked=untracked, changed=changed, why_unknown="nothing is committed yet")
    diff = _diff(folder) if keep_diff and changed else b""
    return Code(
        commit=commit,
        branch=branch or _branch_of_job(commit),
        repository=_origin(folder),
        changed=changed,
        untracked=untracked,
        diff=diff[:MAX_DIFF],
        diff_cut=len(diff) > MAX_DIFF,
    )


def _parse(status: bytes, prefix: str) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    """Read `git status --porcelain=v2 --branch -z`; git-status(1) has the form."""
    commit = branch = ""
    changed, untracked = [], []
    entries = iter(status.decode(errors="replace").split("\0"))
    for entry in entries:
        kind = entry[:2]
        if entry.startswith("# branch.oid "):
            commit = entry.split(" ", 2)[2].replace("(initial)", "")
        elif entry.startswith("# branch.head "):
            branch = entry.split(" ", 2)[2].replace("(detached)", "")
        elif kind == "1 ":
            changed.append(entry.split(" ", 8)[8])
        elif kind == "2 ":
            changed.append(entry.split(" ", 9)[9])
            # The name before the move is an entry of its own.
            next(entries, "")
        elif kind == "u ":
            changed.append(entry.split(" ", 10)[10])
        elif kind == "? " and _concerns(entry[2:], prefix):
            untracked.append(entry[2:])
    return commit, branch, tuple(changed), tuple(untracked)


def _concerns(name: str, prefix: str) -> bool:
    """Whether an untracked file or folder is in the project's, or holds it."""
    return name.startswith(prefix) or (name.endswith("/") and prefix.startswith(name))


def _is_ignored(folder: Path) -> bool:
    # A path, as the root of a repository cannot be asked about from outside.
    done = _run(folder, "check-ignore", "--quiet", ".")
    return done.returncode == 0


def _origin(folder: Path) -> str:
    done = _run(folder, "config", "--get", "remote.origin.url")
    return without_credentials(done.stdout.decode(errors="replace").strip())


def _branch_of_job(commit: str) -> str:
    """Return the branch of a CI job for this commit: its checkout has a detached HEAD."""
    for sha, branch in _JOBS:
        if os.environ.get(sha) == commit:
            return os.environ.get(branch, "")
    return ""


def _diff(folder: Path) -> bytes:
    """Return the changes of tracked files against HEAD, of the whole repository."""
    words = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short", "HEAD"]
    with subprocess.Popen(
        _words(folder, *words, "--", ":/"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    ) as git:
        assert git.stdout is not None
        # One more byte shows that there is more; git ends when the pipe is closed.
        return git.stdout.read(MAX_DIFF + 1)


def _git(folder: Path, *words: str) -> bytes:
    done = _run(folder, *words)
    done.check_returncode()
    return done.stdout


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        _words(folder, *words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT_S,
        env=_environment(),
        check=False,
    )


def _words(folder: Path, *words: str) -> list[str]:
    return ["git", "-C", str(folder), *words]


def _environment() -> dict[str, str]:
    # A git hook that calls mlops names its own repository and index in the environment.
    foreign = {name for name in os.environ if name.startswith("GIT_")}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
