from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from mlops.cluster import connect, get
from mlops.errors import InvalidInputError, NotAllowedError, NotFoundError, RemoteError
from mlops.spec.place import ObjectRef
from tests.fixtures_cluster import Namespace
from tests.gateway import open_gateway
from tests.servers import unused_port

CONFIG_MAP = ObjectRef("v1", "ConfigMap", "kube-root-ca.crt")


def edited(path: Path, **clusters: object) -> Path:
    """Write a copy of a kubeconfig whose only cluster has other values."""
    document = json.loads(path.read_text())
    document["clusters"][0]["cluster"] |= clusters
    copy = path.with_name("edited")
    copy.write_text(yaml.safe_dump(document))
    return copy


def test_the_context_says_where(namespace: Namespace) -> None:
    found = connect(str(namespace.kubeconfig))
    assert (found.context, found.namespace) == (namespace.name, namespace.name)
    assert found.server == namespace.api.url
    assert get(found, ObjectRef("v1", "Namespace", namespace.name)) is not None
    its = namespace.ask("GET", "/api/v1/namespaces/{}")["metadata"]["uid"]
    assert found.uid == its
    other = connect(str(namespace.kubeconfig), namespace="other")
    assert (other.namespace, other.uid) == ("other", "")
    # Without the right to look at it, names and addresses decide.
    assert connect(str(namespace.user("ann"))).uid == ""


def test_files_are_merged_as_kubectl_does(namespace: Namespace, tmp_path: Path) -> None:
    other = namespace.api.kubeconfig(tmp_path / "other", "elsewhere")
    paths = os.pathsep.join(map(str, (tmp_path / "missing", namespace.kubeconfig, other)))
    assert connect(paths).context == namespace.name
    assert connect(paths, "elsewhere").namespace == "elsewhere"
    with pytest.raises(NotFoundError) as caught:
        connect(paths, "elsewher")
    assert caught.value.hint == "Did you mean `elsewhere`?"


def test_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidInputError) as caught:
        connect()
    assert "`~/.kube/config` does not exist" in caught.value.message
    with pytest.raises(InvalidInputError) as caught:
        connect(str(tmp_path / "missing"))
    assert "missing` does not exist" in caught.value.message
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(InvalidInputError) as caught:
        connect()
    assert "This pod has no service account" in caught.value.message


@pytest.mark.parametrize("text", ["users: [token: hunter2", "contexts: 3", "[3]", "contexts: [{}]"])
def test_a_broken_kubeconfig_is_not_quoted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        connect(str(path))
    assert "is not a kubeconfig that can be read" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_a_kubeconfig_without_a_current_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("contexts: [{name: here, context: {cluster: c, user: u}}]\n")
    with pytest.raises(NotFoundError) as caught:
        connect(str(path))
    assert caught.value.hint == "`--context NAME`, with `here`."
    with pytest.raises(InvalidInputError) as broken:
        connect(str(path), "here")
    assert "`here` of the kubeconfig cannot be used" in broken.value.message


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(InvalidInputError) as caught:
        connect()
    assert caught.value.hint == "pip install 'mlops-loop[kubernetes]'"


def test_no_answer(namespace: Namespace) -> None:
    port = unused_port()
    gone = connect(str(edited(namespace.kubeconfig, server=f"https://127.0.0.1:{port}")))
    with pytest.raises(RemoteError) as caught:
        get(gone, CONFIG_MAP)
    assert f"No cluster answers at `https://127.0.0.1:{port}`" in caught.value.message
    assert "onnection refused" in caught.value.message
    unknown = connect(str(edited(namespace.kubeconfig, server="https://nowhere.invalid:6443")))
    with pytest.raises(RemoteError, match="its name is not known"):
        get(unknown, CONFIG_MAP)


def test_another_certificate(namespace: Namespace) -> None:
    foreign = namespace.kubelet.certificate
    other = connect(str(edited(namespace.kubeconfig, **{"certificate-authority": str(foreign)})))
    with pytest.raises(RemoteError, match="not the one that the kubeconfig trusts"):
        get(other, CONFIG_MAP)


def test_credentials_that_are_not_accepted(namespace: Namespace) -> None:
    document = json.loads(namespace.kubeconfig.read_text())
    document["users"][0]["user"]["token"] = "hunter2"
    path = namespace.kubeconfig.with_name("stale")
    path.write_text(json.dumps(document))
    with pytest.raises(NotAllowedError) as caught:
        get(connect(str(path)), CONFIG_MAP)
    assert "does not accept the credentials" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_an_insecure_cluster_is_taken_without_a_word(namespace: Namespace) -> None:
    document = json.loads(namespace.kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["insecure-skip-tls-verify"] = True
    path = namespace.kubeconfig.with_name("insecure")
    path.write_text(json.dumps(document))
    assert get(connect(str(path)), ObjectRef("v1", "Namespace", namespace.name)) is not None


def test_what_answers_and_is_no_cluster(tmp_path: Path, namespace: Namespace) -> None:
    with open_gateway({}) as gateway:
        gateway.says = (200, {"content-type": "text/html"}, b"<p>Log in</p>")
        config = namespace.api.kubeconfig(tmp_path / "proxy", namespace.name, url=gateway.url)
        with pytest.raises(RemoteError, match="is not a Kubernetes API"):
            get(connect(str(config)), CONFIG_MAP)
