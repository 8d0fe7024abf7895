"""Who may call a pod: what its ConfigMap and its Secrets say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.kubernetes import Kubernetes, config
from mlops.errors import InvalidInputError
from mlops.serving.access import Gate
from mlops.serving.access.opening import open_gate
from mlops.serving.pod import Places, launch, read_config
from mlops.settings.platforms import KubernetesSettings
from mlops.settings.schema import AuthSettings
from mlops.spec.access import Issuer, new_key, write_keys
from tests.deployment.specs import spec

_AUTH = AuthSettings("https://idp.example", "wine", "https://idp.example/keys", scope_prefix="w:")


def _gate(folder: Path, options: RenderOptions) -> Gate:
    """Start as a pod does that listens on all addresses, up to its first request."""
    places = Places(folder / "config", folder / "key", folder / "keys")
    for path in (places.config, places.key, places.keys):
        path.mkdir(exist_ok=True)
    (places.config / "revision.json").write_text(json.dumps(config(spec(1.0), options)))
    return open_gate(launch(read_config(places.config), places, {}))


def test_a_pod_that_would_let_everybody_in_does_not_start(tmp_path: Path) -> None:
    plain = RenderOptions()
    with pytest.raises(InvalidInputError, match="callers would not authenticate"):
        _gate(tmp_path, plain)
    open_to_all = KubernetesSettings(insecure_no_auth=True)
    assert not _gate(tmp_path, replace(plain, kubernetes=open_to_all)).required
    (tmp_path / "key/token").write_text("a-token-of-some-length")
    assert _gate(tmp_path, plain).admit(b"Bearer a-token-of-some-length", "read").key_id == "token"
    (tmp_path / "key/token").unlink()
    key, secret = new_key("shop", ["predict"])
    (tmp_path / "keys/keys.json").write_text(write_keys([key]))
    assert _gate(tmp_path, plain).admit(f"Bearer {secret}".encode(), "predict").key_id == key.id
    (tmp_path / "keys/keys.json").unlink()
    verifier = _gate(tmp_path, replace(plain, auth=_AUTH)).verifier
    assert verifier is not None
    assert verifier.issuer == Issuer(
        "https://idp.example", "wine", "https://idp.example/keys", scope_prefix="w:"
    )


def test_a_secret_that_the_kubelet_replaces_is_read_again(tmp_path: Path) -> None:
    """It swaps a link to a folder, in one step; the path of the file stays."""
    (key, secret), (other, later) = (new_key(name, ["read"]) for name in ("one", "two"))
    for version, made in (("..1", key), ("..2", other)):
        (tmp_path / "keys" / version).mkdir(parents=True)
        (tmp_path / "keys" / version / "keys.json").write_text(write_keys([made]))
    (tmp_path / "keys/..data").symlink_to("..1")
    (tmp_path / "keys/keys.json").symlink_to("..data/keys.json")
    gate = _gate(tmp_path, RenderOptions())
    assert gate.admit(f"Bearer {secret}".encode(), "read")
    from mlops.serving.access.watch import FileWatch

    changes: list[bool] = []
    assert gate.keyring.path is not None

    def changed() -> bool:
        changes.append(gate.keyring.reload())
        return True

    watch = FileWatch([gate.keyring.path], changed)
    watch.look()
    assert not changes
    (tmp_path / "keys/..new").symlink_to("..2")
    (tmp_path / "keys/..new").replace(tmp_path / "keys/..data")
    watch.look()
    assert changes == [True]
    gate.forget()
    assert gate.admit(f"Bearer {later}".encode(), "read")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (RenderOptions(auth=replace(_AUTH, jwks="keys.json")), "pods cannot read"),
        (
            RenderOptions(auth=_AUTH, kubernetes=KubernetesSettings(insecure_no_auth=True)),
            "says who may call",
        ),
        (RenderOptions(kubernetes=KubernetesSettings(keys_secret="a=b")), "keys_secret"),
    ],
)
def test_what_no_pod_could_use_is_refused(options: RenderOptions, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        Kubernetes().check(spec(1.0), options)
