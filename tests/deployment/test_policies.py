"""Rendered pods against the Pod Security Standard and public policy checkers.

The restricted profile is decided by a real API server. The checkers run with their defaults, over
what is rendered and over the pods that KServe and Seldon Core make of it; what they find must be
the exceptions that `docs/kubernetes/hardening.md` justifies, no more and no less.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import HTTPError

import pytest
import yaml

from mlops.deployment.targets import TARGETS
from tests import policy_checkers
from tests.deployment.matrix import CASES
from tests.fixtures_cluster import Namespace
from tests.requirements import require

Json: TypeAlias = dict[str, Any]
DOCS = Path(__file__).parents[2] / "docs/kubernetes/hardening.md"
JOB = Path(__file__).parents[1] / "golden/training"
#: Their pods run images of the platform, as it makes them.
_NOT_OURS = ("seldon-prepackaged", "seldon-router-prepackaged")
#: One of each kind of pod: with and without PostgreSQL, with Secrets, behind and in front.
_CHECKED = (
    *("kubernetes-sqlite-ab-shadow", "kubernetes-postgresql-ab", "kubernetes-named-ab"),
    *("kserve-router-postgresql-ab-shadow", "seldon-router-elsewhere"),
    "kserve-graph-mlserver-0.20-knative-ab",
)


def rendered(name: str) -> dict[str, str]:
    target, deployment, given = CASES[name]
    return dict(TARGETS.load(target)().render(deployment, given).files)


def pods_of(document: Json) -> Iterator[Json]:
    """Yield the specs of pods that a document leads to, without what an operator adds."""
    spec = document.get("spec", {})
    if document["kind"] in ("Deployment", "Job"):
        yield spec["template"]["spec"]
    elif document["kind"] == "ServingRuntime":
        # The InferenceService, in the same files, says so.
        wanted = {"automountServiceAccountToken": False}
        yield {key: spec[key] for key in ("containers", "volumes") if key in spec} | wanted
    elif document["kind"] == "SeldonDeployment":
        for predictor in spec["predictors"]:
            yield from (each["spec"] for each in predictor["componentSpecs"])


def every_pod() -> list[Json]:
    """Return all different pods of ours."""
    names = [name for name in CASES if not name.startswith(_NOT_OURS)]
    texts = [text for name in names for text in rendered(name).values()]
    texts += [path.read_text() for path in JOB.glob("*.yaml")]
    documents = map(yaml.safe_load, dict.fromkeys(texts))
    return list({str(spec): spec for each in documents for spec in pods_of(each)}.values())


def pod(spec: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def test_pods_fit_the_restricted_profile(namespace: Namespace) -> None:
    restricted = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    own, merge = "/api/v1/namespaces/{}", "application/merge-patch+json"
    namespace.ask("PATCH", own, restricted, content_type=merge)

    def admit(spec: Json) -> None:
        # The ServiceAccounts of some cases are not there, and are no part of the profile.
        namespace.ask("POST", f"{own}/pods?dryRun=All", pod({**spec, "serviceAccountName": ""}))

    pods = every_pod()
    assert len(pods) > 10
    for spec in pods:
        admit(spec)
    with pytest.raises(HTTPError) as caught:
        admit(json.loads(json.dumps(pods[0]).replace("RuntimeDefault", "Unconfined")))
    assert "violates PodSecurity" in str(caught.value.__notes__)


def write(name: str, files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write manifests into a folder, with Pods in the place of custom resources.

    Returns:
        What was written.
    """
    folder.mkdir()
    for file, text in files.items():
        rendered, document = text, yaml.safe_load(text)
        if document["kind"] in ("ServingRuntime", "SeldonDeployment"):
            metadata = {"name": f"{name[:40]}-behind", "namespace": "shop", "labels": {"of": name}}
            (spec, *_) = pods_of(document)
            rendered = yaml.safe_dump(pod(spec) | {"metadata": metadata})
        (folder / file).write_text(rendered)
    return sorted(folder.iterdir())


def exceptions(checker: str) -> Mapping[str, str]:
    """Return the checks that the documentation excepts, with the reason."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", DOCS.read_text(), re.MULTILINE)
    pattern = r"`(CKV2?_K8S_\d+)`" if checker == "checkov" else r"`([a-z]+(?:-[a-z]+)+)`"
    return {check: reason for checks, reason in rows for check in re.findall(pattern, checks)}


@pytest.mark.parametrize("checker", ["kube-score", "checkov"])
def test_checkers_find_only_what_is_justified(checker: str, tmp_path: Path) -> None:
    program = policy_checkers.find(checker)
    require(checker, program, f"{checker} is not installed; {policy_checkers.HOW}")
    assert program is not None
    cases = {name: rendered(name) for name in _CHECKED}
    cases["job"] = {path.name: path.read_text() for path in JOB.glob("*.yaml")}
    written = [write(name, files, tmp_path / name) for name, files in cases.items()]
    if checker == "kube-score":
        scored = (policy_checkers.kube_score(program, files) for files in written)
        findings = list(itertools.chain.from_iterable(scored))
    else:
        findings = list(policy_checkers.checkov(program, tmp_path))
    print(*findings, sep="\n")
    assert {check for check, _ in findings} == set(exceptions(checker))
