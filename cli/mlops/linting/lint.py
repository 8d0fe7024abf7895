"""From text to findings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mlops.linting.base import Context, Finding, Problem, Rule
from mlops.linting.documents import (
    Document,
    Path,
    Spot,
    TemplateError,
    UnreadableError,
    is_placeholder,
    read_documents,
    shown,
)
from mlops.linting.kustomize import FILLED_IN, PATCHES, patches
from mlops.linting.kustomize import named as named_by
from mlops.linting.rules import (
    gateway,
    general,
    kserve,
    kserve_canary,
    kserve_graph,
    kserve_runtime,
    kserve_scaling,
    kserve_storage,
    kubernetes,
    monitoring,
    pods,
    seldon1,
    seldon1_graph,
    seldon1_storage,
    seldon1_traffic,
    seldon2,
    seldon2_pipeline,
)
from mlops.linting.structure import MISSING, cleaned, known_kinds, schema_of

#: What every file with an object has, or with a part of one.
_WORDS = ("apiversion", "kind", "metadata", "spec", "patch", "resources")

#: What a file that cannot be read has, if it is meant as a manifest.
_MEANT = re.compile(r"^[\s{,]*[\"']?(apiVersion|kind)[\"']?\s*:", re.MULTILINE)

#: Every rule by its id. Those of `general` represent checks made while a document is read.
RULES: Mapping[str, Rule] = {
    rule.id: rule
    for module in (
        general,
        kubernetes,
        pods,
        monitoring,
        gateway,
        kserve,
        kserve_canary,
        kserve_graph,
        kserve_runtime,
        kserve_scaling,
        kserve_storage,
        seldon1,
        seldon1_graph,
        seldon1_storage,
        seldon1_traffic,
        seldon2,
        seldon2_pipeline,
    )
    for rule in module.RULES
}


def lint_text(text: str, file: str = "-", context: Context | None = None) -> list[Finding]:
    """Check one YAML stream; see `lint`."""
    return lint({file: text}, context)


def lint(
    texts: Mapping[str, str],
    context: Context | None = None,
    named: Collection[str] = (),
    partial: Collection[str] = (),
) -> list[Finding]:
    """Check manifests; those in files of one folder belong together.

    Args:
        texts: File name to YAML or JSON.
        context: Versions and purpose; its documents are those of `texts`.
        named: Files that have to hold a manifest; others may be anything.
        partial: Files that are known to hold parts of objects, beside those that a kustomization
            among `texts` names as patches.

    Returns:
        What is wrong, by file and line, errors before warnings of the same line.
    """
    findings: list[Finding] = []
    documents: list[Document] = []
    for file, text in texts.items():
        lowered = text.lower()
        if file not in named and not any(word in lowered for word in _WORDS):
            continue
        try:
            read = read_documents(text, file)
        except UnreadableError as error:
            if file in named or _MEANT.search(text):
                findings.append(_unreadable(file, error))
            continue
        findings += _objects(file, read, named=file in named)
        documents += read
    parts = {*partial, *named_by(documents, *PATCHES)}
    built = {*named_by(documents, "resources", "bases")}
    clean: list[Document] = []
    for document in documents:
        kept, found = _structure(document, partial=document.file in parts)
        findings += (each for each in found if document.file not in built or not _filled_in(each))
        if kept is not None:
            clean.append(kept)
    context = replace(context or Context(), documents=tuple(clean))
    for document in clean:
        findings += _rules(document, context)
    order = {file: index for index, file in enumerate(texts)}
    return sorted(findings, key=lambda f: (order[f.file], f.line, f.severity, f.rule, f.path))


def _objects(file: str, documents: Sequence[Document], *, named: bool) -> Iterator[Finding]:
    """Check that a file holds objects, and nothing else beside them."""
    problem = general.no_manifest(documents, named=named)
    if problem is not None:
        yield _finding(RULES[general.NO_MANIFEST], Document(file, {}), problem)
    if not any(document.is_object for document in documents):
        return
    for document in documents:
        problem = general.stray(document)
        if problem is not None:
            yield _finding(RULES[general.STRAY], document, problem)


def _structure(document: Document, *, partial: bool) -> tuple[Document | None, list[Finding]]:
    """Check the fields of a document; None in place of one that no rule can judge."""
    found = [
        _finding(RULES[general.REPEATED], document, Problem(path, f"`{path[-1]}` is given twice"))
        for path in document.repeated
    ]
    schema = schema_of(document)
    if schema is None:
        for rule, problem in (
            (general.REMOVED, general.removed_version(document)),
            (general.KIND, general.unknown_kind(document, known_kinds())),
        ):
            if problem is not None:
                found.append(_finding(RULES[rule], document, problem))
        return None, found
    kept, problems = cleaned(document, schema)
    partial = partial or patches(document)
    if partial:
        problems = [
            (rule, problem)
            for rule, problem in problems
            if rule != MISSING and not is_placeholder(document.at(*problem.path))
        ]
        told = f"this is a patch of {document.kind} `{document.name}`, not the whole object"
        found.append(_finding(RULES[general.PARTIAL], document, Problem((), told)))
    found += [_finding(RULES[rule], kept, problem) for rule, problem in problems]
    return None if partial else kept, found


def _depends(document: Document, path: Path) -> bool:
    """Whether what is at a path is not known before another program has put it in."""
    filled_in = any(each[: len(path)] == path for each in document.filled_in)
    return filled_in or is_placeholder(document.at(*path))


def _filled_in(finding: Finding) -> bool:
    """Whether a kustomization that names the file may add what is missing."""
    return finding.rule == MISSING and finding.message.split("`")[1] in FILLED_IN


def _rules(document: Document, context: Context) -> Iterator[Finding]:
    for rule in RULES.values():
        if not rule.kinds or document.group_kind in rule.kinds:
            for problem in rule.check(document, context):
                if not _depends(document, problem.path):
                    yield _finding(rule, document, problem)


def _finding(rule: Rule, document: Document, problem: Problem) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        file=document.file,
        line=document.line(problem.path),
        object=f"{document.kind} {document.name}".strip(),
        path=shown(problem.path),
        message=problem.message,
        explanation=rule.explanation,
        reference=rule.reference,
    )


def _unreadable(file: str, error: UnreadableError) -> Finding:
    if isinstance(error, TemplateError):
        rule, message = RULES[general.TEMPLATE], "this is a template, so it was not checked"
    else:
        rule, message = RULES[general.YAML], f"this is not YAML: {error.message}"
    blank = Document(file, {}, Spot(error.line, {}))
    return _finding(rule, blank, Problem((), message))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return those that a cluster would refuse, or that cannot work."""
    return [finding for finding in findings if finding.severity == "error"]
