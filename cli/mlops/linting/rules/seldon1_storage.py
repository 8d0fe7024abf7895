"""SeldonDeployments: where models come from, and with which credentials.

Behaviour is that of SeldonIO/seldon-core v1.18.2, `components/rclone-storage-initializer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlops.linting.base import Context, Problem, Rule
from mlops.linting.documents import Document
from mlops.linting.rules.seldon1 import SDEP, nodes

_SOURCE = "SeldonIO/seldon-core v1.18.2 components/rclone-storage-initializer/Dockerfile"


def remote(document: Document, context: Context) -> Iterator[Problem]:
    """Find a URI whose remote the named Secret does not define."""
    for path, node in nodes(document):
        uri, name = str(node.get("modelUri") or ""), node.get("envSecretRefName")
        scheme, found, _ = uri.partition("://")
        secret = context.named("Secret", str(name), document) if name else None
        # KFServing's initializer, which wants other keys, can be chosen for each node.
        other = node.get("storageInitializerImage")
        if not found or secret is None or other or scheme in ("gs", "pvc"):
            continue
        keys: set[str] = set()
        for table in ("data", "stringData"):
            held = secret.at(table)
            keys |= set(held) if isinstance(held, Mapping) else set()
        prefix = f"RCLONE_CONFIG_{scheme.upper()}_"
        if not any(key.startswith(prefix) for key in keys):
            yield Problem((*path, "modelUri"), f"Secret `{name}` has no key `{prefix}*`")


def anonymous(document: Document, context: Context) -> Iterator[Problem]:
    """Find a bucket that is read without credentials."""
    for path, node in nodes(document):
        if str(node.get("modelUri") or "").startswith("gs://"):
            yield Problem((*path, "modelUri"), f"`{node['modelUri']}` is read anonymously")


RULES = (
    Rule(
        "seldon/rclone-remote",
        "error",
        SDEP,
        remote,
        "The scheme of the URI is the name of an rclone remote: without its keys the init "
        'container ends with "didn\'t find section in config file". Secrets for KServe do not work'
        " here.",
        _SOURCE,
    ),
    Rule(
        "seldon/anonymous-gs",
        "warning",
        SDEP,
        anonymous,
        "The remote `gs` is configured without credentials: only public buckets can be read. For "
        "a private one define another remote in the Secret, `RCLONE_CONFIG_GCS_*`, and write "
        "`gcs://` (SeldonIO/seldon-core#3839).",
        _SOURCE,
    ),
)
