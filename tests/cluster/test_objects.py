from __future__ import annotations

from typing import Any

import pytest

from mlops.cluster import apply, connect, delete, get, list_objects
from mlops.cluster.faults import refusal
from mlops.cluster.objects import create, require_kinds
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)
from mlops.spec.place import ObjectRef
from tests.fixtures_cluster import Namespace

REF = ObjectRef("v1", "ConfigMap", "a")


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def test_apply_get_list_delete(namespace: Namespace) -> None:
    cluster = connect(str(namespace.kubeconfig))
    assert get(cluster, REF) is None
    apply(cluster, config_map(x="1"), dry_run=True)
    assert get(cluster, REF) is None
    first = apply(cluster, config_map(x="1", y="2"))
    assert apply(cluster, config_map(x="1", y="2")) == first
    # What we applied and no longer want goes; what others set stays.
    namespace.ask(
        "PATCH",
        "/api/v1/namespaces/{}/configmaps/a",
        {"data": {"theirs": "3"}},
        content_type="application/merge-patch+json",
    )
    assert apply(cluster, config_map(x="1"))["data"] == {"x": "1", "theirs": "3"}
    [listed] = [each for each in list_objects(cluster, "v1", "ConfigMap") if "x" in each["data"]]
    assert listed["kind"] == "ConfigMap"
    assert list_objects(cluster, "v1", "ConfigMap", labels="a=b") == []
    with pytest.raises(ConflictError):
        create(cluster, config_map())
    with pytest.raises(ConflictError):
        delete(cluster, REF, uid="another")
    assert delete(cluster, REF, uid=listed["metadata"]["uid"])
    assert not delete(cluster, REF)


def test_metadata_only_leaves_the_rest_with_the_cluster(namespace: Namespace) -> None:
    cluster = connect(str(namespace.kubeconfig))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    create(cluster, {**secret, "stringData": {"key": "hunter2"}})
    found = get(cluster, ObjectRef("v1", "Secret", "s"), metadata_only=True)
    assert found is not None
    assert found["metadata"]["name"] == "s"
    assert "data" not in found


def test_fields_of_others(namespace: Namespace) -> None:
    cluster = connect(str(namespace.kubeconfig))
    apply(cluster, config_map(x="1"))
    namespace.ask(
        "PATCH",
        "/api/v1/namespaces/{}/configmaps/a?fieldManager=kubectl-edit",
        {"data": {"x": "theirs"}},
        content_type="application/merge-patch+json",
    )
    with pytest.raises(ConflictError) as caught:
        apply(cluster, config_map(x="2"))
    assert "`.data.x` belongs to `kubectl-edit`" in caught.value.message
    assert "--force-conflicts" in str(caught.value.hint)
    assert apply(cluster, config_map(x="2"), force=True)["data"] == {"x": "2"}


def test_what_the_server_refuses(namespace: Namespace) -> None:
    cluster = connect(str(namespace.kubeconfig))
    with pytest.raises(InvalidInputError, match="field not declared in schema"):
        apply(cluster, {**config_map(), "dta": {}})
    apply(cluster, {**config_map(x="1"), "immutable": True})
    with pytest.raises(InvalidInputError, match="immutable"):
        apply(cluster, {**config_map(x="2"), "immutable": True})


def test_kinds_and_namespaces_that_are_not_there(namespace: Namespace) -> None:
    cluster = connect(str(namespace.kubeconfig))
    stranger = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}
    with pytest.raises(NotFoundError) as caught:
        apply(cluster, stranger)
    assert "does not have Thing (`example.com/v1`)" in caught.value.message
    ref = ObjectRef("serving.kserve.io/v9", "InferenceService", "a")
    with pytest.raises(NotFoundError) as caught:
        require_kinds(cluster, [REF, ref], {"serving.kserve.io": "0.20"})
    assert "Install KServe 0.20" in str(caught.value.hint)
    elsewhere = connect(str(namespace.kubeconfig), namespace="nowhere")
    with pytest.raises(NotFoundError) as caught:
        apply(elsewhere, config_map())
    assert caught.value.message == "The cluster has no namespace `nowhere`."


def test_what_a_user_may_not_do(namespace: Namespace) -> None:
    cluster = connect(str(namespace.user("ann")))
    with pytest.raises(NotAllowedError) as caught:
        apply(cluster, config_map())
    assert f"`ann` may not patch configmaps in namespace `{namespace.name}`" in caught.value.message
    assert f"`kubectl auth can-i patch configmaps -n {namespace.name}`" in str(caught.value.hint)
    ref = ObjectRef("apps/v1", "Deployment", "a")
    with pytest.raises(NotAllowedError, match=r"may not get deployments\.apps"):
        get(cluster, ref)


def test_a_quota_is_no_lack_of_permission(namespace: Namespace) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "0"}}}
    namespace.ask("POST", "/api/v1/namespaces/{}/resourcequotas", quota)
    cluster = connect(str(namespace.kubeconfig))
    status = {"status": {"hard": {"configmaps": "0"}, "used": {"configmaps": "1"}}}
    namespace.ask(
        "PATCH",
        "/api/v1/namespaces/{}/resourcequotas/q/status",
        status,
        content_type="application/merge-patch+json",
    )
    with pytest.raises(InvalidInputError, match="exceeded quota"):
        apply(cluster, config_map())


def test_words_of_a_webhook() -> None:
    """As kube-apiserver passes them on; no webhook runs here."""
    status = {
        "message": 'admission webhook "v1.vseldondeployment.kb.io" denied the request: bad name',
        "details": {"name": "wine", "kind": "seldondeployments"},
    }
    error = refusal(403, status, "https://host", "here")
    assert isinstance(error, InvalidInputError)
    assert error.message == (
        "The admission webhook `v1.vseldondeployment.kb.io` of the cluster refused "
        "seldondeployments `wine`: bad name"
    )


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_may_be_asked_again(code: int) -> None:
    assert isinstance(refusal(code, {}, "https://host", ""), RemoteError)
