"""From text to findings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mlops.linting.base import Context, Finding, Problem, Rule
from mlops.linting.documents import Document, Path, UnreadableError, read_documents, shown
from mlops.linting.rules import (
    gateway,
    general,
    kserve,
    kserve_canary,
    kserve_graph,
    kserve_runtime,
    kserve_scaling,
    kubernetes,
    monitoring,
    seldon1,
    seldon1_graph,
    seldon1_storage,
    seldon1_traffic,
    seldon2,
    seldon2_pipeline,
)
from mlops.linting.structure import cleaned, known_kinds, schema_of

#: Every rule by its id. Those of `general` stand for checks made while a document is read.
RULES: Mapping[str, Rule] = {
    rule.id: rule
    for module in (
        general,
        kubernetes,
        monitoring,
        gateway,
        kserve,
        kserve_canary,
        kserve_graph,
        kserve_runtime,
        kserve_scaling,
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
    texts: Mapping[str, str], context: Context | None = None, named: Collection[str] = ()
) -> list[Finding]:
    """Check manifests that belong together.

    Args:
        texts: File name to YAML.
        context: Versions and purpose; its documents are those of `texts`.
        named: Files that have to hold a manifest; others may be anything.

    Returns:
        What is wrong, by file and line, errors before warnings of the same line.
    """
    findings: list[Finding] = []
    documents: list[Document] = []
    for file, text in texts.items():
        try:
            read = read_documents(text, file)
        except UnreadableError as error:
            findings.append(_unreadable(file, text, error))
            continue
        findings += _objects(file, read, named=file in named)
        documents += read
    clean: list[Document] = []
    for document in documents:
        kept, found = _structure(document)
        findings += found
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
        blank = Document(file, {}, {})
        yield _finding(RULES[general.NO_MANIFEST], blank, problem)
    if not any(document.is_object for document in documents):
        return
    for document in documents:
        problem = general.stray(document)
        if problem is not None:
            yield _finding(RULES[general.STRAY], document, problem)


def _structure(document: Document) -> tuple[Document | None, list[Finding]]:
    """Check the fields of a document; None in place of one of a kind we know nothing about."""
    found = [
        _finding(RULES[general.REPEATED], document, Problem(path, f"`{path[-1]}` is given twice"))
        for path in document.repeated
    ]
    schema = schema_of(document)
    if schema is None:
        problem = general.unknown_kind(document, known_kinds())
        if problem is not None:
            found.append(_finding(RULES[general.KIND], document, problem))
        return None, found
    kept, problems = cleaned(document, schema)
    found += [_finding(RULES[rule], kept, problem) for rule, problem in problems]
    return kept, found


def _rules(document: Document, context: Context) -> Iterator[Finding]:
    for rule in RULES.values():
        if not rule.kinds or document.group_kind in rule.kinds:
            for problem in rule.check(document, context):
                yield _finding(rule, document, problem)


def _finding(rule: Rule, document: Document, problem: Problem) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        file=document.file,
        line=document.line(problem.path),
        object=f"{document.kind} {document.name}".strip(),
        path=_shown(problem.path),
        message=problem.message,
        explanation=rule.explanation,
        reference=rule.reference,
    )


def _shown(path: Path) -> str:
    return shown(path)


def _unreadable(file: str, text: str, error: UnreadableError) -> Finding:
    rule = RULES[general.YAML]
    template = "; it looks like a template, so render it first" if "{{" in text else ""
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        file=file,
        line=error.line,
        object="",
        path="",
        message=f"this is no YAML: {error.message}{template}",
        explanation=rule.explanation,
        reference=rule.reference,
    )


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return those that a cluster would refuse, or that cannot work."""
    return [finding for finding in findings if finding.severity == "error"]
