"""`mlops lint`: find the manifests, check them together."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from mlops.errors import (
    InvalidInputError,
    MlopsError,
    NotFoundError,
    UsageError,
    did_you_mean,
    one_of,
)
from mlops.linting import Context, Finding, lint
from mlops.linting.base import VERSIONS
from mlops.linting.documents import UnreadableError, read_documents
from mlops.linting.kustomize import PATCHES
from mlops.linting.kustomize import named as named_by

#: In place of a file: standard input.
STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")
#: How many folders up a kustomization is looked for that may name a file as a patch.
_LEVELS = 4


@dataclass(frozen=True, slots=True)
class LintReport:
    """The findings about manifests.

    Attributes:
        files: What was read, as it was named.
        findings: The findings, by file and line.
        errors: How many of them a cluster would refuse, or cannot work.
        warnings: How many of them are less severe.
        notes: How many files or objects were not, or not wholly, checked: templates and patches.
    """

    files: tuple[str, ...]
    findings: tuple[Finding, ...]
    errors: int
    warnings: int
    notes: int


def lint_paths(
    paths: Sequence[str], platforms: Sequence[str] = (), *, feedback: bool = False
) -> LintReport:
    """Check files and folders of manifests; those given at once belong together.

    Args:
        paths: Files, folders (searched for .yaml, .yml and .json), or `-` for standard input.
        platforms: `PLATFORM=VERSION`, for what the cluster has.
        feedback: Whether feedback will be sent to what they deploy.

    Raises:
        NotFoundError: A path does not exist, or a folder has no manifests.
        InvalidInputError: A file is not text.
        UsageError: A platform or version is not known.
    """
    versions = dict(_platform(text) for text in platforms)
    read = {path: dict(_read(path)) for path in paths}
    texts = {name: text for found in read.values() for name, text in found.items()}
    named = {name for path, found in read.items() if _is_named(path) for name in found}
    context = Context(versions=versions, feedback=feedback)
    findings = tuple(lint(texts, context, named, set(_patches_near(named))))
    counts = Counter(finding.severity for finding in findings)
    return LintReport(tuple(texts), findings, counts["error"], counts["warning"], counts["note"])


def _patches_near(files: Iterable[str]) -> Iterator[str]:
    """Yield the patches that kustomizations beside some files, or above them, name."""
    folders = {each for file in files for each in list(Path(file).parents)[:_LEVELS]}
    for folder in folders:
        for kustomization in folder.glob("[kK]ustomization*"):
            try:
                documents = read_documents(_text(kustomization), str(kustomization))
            except (UnreadableError, MlopsError):
                continue
            yield from named_by(documents, *PATCHES)


def github_annotations(report: LintReport) -> Iterator[str]:
    """Yield a line for each finding as GitHub's runners read them.

    Specification: "Workflow commands for GitHub Actions", setting an error or a warning message.
    """
    for finding in report.findings:
        where = ",".join(
            f"{key}={_property(value)}"
            for key, value in (
                ("file", finding.file),
                ("line", str(finding.line)),
                ("title", finding.rule),
            )
        )
        place = f"{finding.path}: " if finding.path else ""
        kind = "notice" if finding.severity == "note" else finding.severity
        yield f"::{kind} {where}::" + _data(f"{place}{finding.message}. {finding.explanation}")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _platform(text: str) -> tuple[str, str]:
    platform, equals, version = text.partition("=")
    if not equals or platform not in VERSIONS:
        hint = did_you_mean(platform, VERSIONS) or f"Platforms are {one_of(VERSIONS)}."
        raise UsageError(f"`{text}` is not PLATFORM=VERSION.", hint=hint)
    try:
        Version(version)
    except InvalidVersion as error:
        raise UsageError(
            f"`{version}` is not a version.", hint=f"Such as `{VERSIONS[platform]}`."
        ) from error
    return platform, version


def _read(path: str) -> Iterator[tuple[str, str]]:
    if path == STDIN:
        yield "<stdin>", sys.stdin.read()
        return
    found = Path(path)
    if found.is_dir():
        files = manifests_below(found)
        if not files:
            raise NotFoundError(
                f"`{path}` has no manifests.", hint=f"They end in {one_of(_SUFFIXES)}."
            )
        # What is not UTF-8 is data, or is reported as YAML that cannot be read.
        for file in files:
            yield str(file), _text(file, errors="replace")
    else:
        yield str(found), _text(found)


def _is_named(path: str) -> bool:
    """Whether a path has to be a manifest; a kustomization is known by its name."""
    return not Path(path).is_dir() and Path(path).stem.lower() != "kustomization"


def manifests_below(folder: Path) -> list[Path]:
    """Return the files of a folder and of those in it that may be manifests, sorted."""
    return sorted(each for each in folder.rglob("*") if _is_manifest(each, folder))


def _is_manifest(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix in _SUFFIXES and not hidden and path.is_file()


def _text(file: Path, errors: str = "strict") -> str:
    try:
        return file.read_text(encoding="utf-8", errors=errors)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file `{file}`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"`{file}` cannot be read: {error}.") from error


def rules() -> list[Mapping[str, str]]:
    """Return every rule as data, in the order in which they are applied."""
    from mlops.linting import RULES

    return [
        {
            "rule": rule.id,
            "severity": rule.severity,
            "kinds": ", ".join(rule.kinds) or "any",
            "explanation": rule.explanation,
            "reference": rule.reference,
        }
        for rule in RULES.values()
    ]
