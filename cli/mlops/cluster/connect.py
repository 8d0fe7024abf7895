"""Which cluster, as who, in which namespace: what `kubectl` would take."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.cluster.faults import cluster_errors, no_cluster
from mlops.errors import (
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
    did_you_mean,
    one_of,
)

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_DEFAULT = "~/.kube/config"
_DEFAULT_NAMESPACE = "default"
_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Seconds to connect, and seconds until the next byte of an answer.
_PATIENCE_S = (10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Resource:
    """What the API calls a kind.

    Attributes:
        plural: Its name in paths.
        namespaced: Whether its objects are in namespaces.
    """

    plural: str
    namespaced: bool


class Cluster:
    """An open connection to a Kubernetes API.

    Several threads may ask at once.

    Attributes:
        context: Name of its context in the kubeconfig; empty from within the cluster.
        namespace: The namespace that is meant where none is named.
        server: Address of the API.
    """

    def __init__(self, client: ApiClient, context: str, namespace: str) -> None:
        from kubernetes.dynamic import DynamicClient

        self.context = context
        self.namespace = namespace
        self.server = str(client.configuration.host)
        # Its own discovery asks for all there is and keeps a file of it in /tmp.
        self._client = DynamicClient(client, discoverer=lambda *_: None)
        self._resources: dict[str, dict[str, Resource]] = {}
        self._uid: str | None = None

    @property
    def uid(self) -> str:
        """UID of the namespace; empty if there is none, or it cannot be read."""
        if self._uid is None:
            try:
                found = self.ask("get", f"/api/v1/namespaces/{self.namespace}")
            except (NotFoundError, NotAllowedError, RemoteError):
                return ""
            self._uid = str(found["metadata"]["uid"])
        return self._uid

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | str | None = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:  # noqa: ANN401 - JSON data
        """Ask the API and return the JSON it answers with.

        Raises:
            MlopsError: It cannot be reached, or it says no; see `faults`.
        """
        answer = self._send(method, path, body, query, content_type, accept).data
        try:
            return json.loads(answer)
        except ValueError as error:
            raise no_cluster(self.server, "what answers there is not a Kubernetes API") from error

    def lines(self, path: str, *, query: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
        """Yield the lines of a text as they come, each with its end.

        Raises:
            MlopsError: As `ask`.
        """
        answer = self._send("get", path, None, query, "application/json", "*/*")
        rest = b""
        with cluster_errors(self.server, self.context):
            for chunk in answer.stream(8192, decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") + "\n" for line in whole)
        if rest:
            yield rest.decode(errors="replace") + "\n"

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """Return what the API calls a kind, None if it does not have it."""
        if api_version not in self._resources:
            group = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            try:
                found = self.ask("get", group)["resources"]
            except NotFoundError:
                found = []
            self._resources[api_version] = {
                each["kind"]: Resource(each["name"], each["namespaced"])
                for each in found
                # `deployments/scale` is a way to see a Deployment and no kind of its own.
                if "/" not in each["name"]
            }
        return self._resources[api_version].get(kind)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | str | None,
        query: Sequence[tuple[str, str]],
        content_type: str,
        accept: str,
    ) -> Any:  # noqa: ANN401 - the client has no types
        with cluster_errors(self.server, self.context):
            return self._client.request(
                method,
                path,
                body=body,
                query_params=list(query),
                header_params={"Accept": accept},
                content_type=content_type,
                serialize=False,
                _request_timeout=_PATIENCE_S,
            )


def connect(kubeconfig: str = "", context: str = "", namespace: str = "") -> Cluster:
    """Open a connection; nothing is asked yet.

    Args:
        kubeconfig: A path, or several with `:` between; empty for `~/.kube/config`, else for the
            service account of the pod that this runs in.
        context: Context of the kubeconfig; empty for the current one.
        namespace: Empty for the context's, else the pod's own, else `default`.

    Raises:
        InvalidInputError: No cluster is configured, the kubeconfig cannot be read, or the extra is
            not installed.
        NotFoundError: There is no such file or context.
    """
    try:
        import kubernetes  # noqa: F401 - the extra, before anything else is looked at
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"Connecting to a cluster needs `{error.name}`, which is not installed.",
            hint="pip install 'mlops-loop[kubernetes]'",
        ) from error
    paths = _paths(kubeconfig)
    if not paths and not kubeconfig and not context and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _from_within(namespace)
    known, current = _contexts(paths, kubeconfig)
    name = context or current
    if name not in known:
        raise _no_context(name, known)
    client = _client(paths, name)
    return Cluster(client, name, namespace or known[name] or _DEFAULT_NAMESPACE)


def _paths(kubeconfig: str) -> list[Path]:
    """Return the files that exist; of several that are named some may be missing."""
    named = [Path(each).expanduser() for each in (kubeconfig or _DEFAULT).split(os.pathsep) if each]
    return [path for path in named if path.exists()]


def _contexts(paths: Sequence[Path], kubeconfig: str) -> tuple[dict[str, str], str]:
    """Return the namespace of every context, and the name of the current one."""
    # Not above: `mlops.cluster.ray` is imported where only the standard library may be needed.
    import yaml

    if not paths:
        raise InvalidInputError(
            f"No cluster is configured: `{kubeconfig or _DEFAULT}` does not exist.",
            hint="Name one with `--kubeconfig FILE` or KUBECONFIG.",
        )
    known: dict[str, str] = {}
    current = ""
    for path in paths:
        try:
            document = dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
            found = {
                each["name"]: (each["context"] or {}).get("namespace") or ""
                for each in document.get("contexts") or []
            }
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(path, type(error).__name__) from error
        # The first file that says a thing is right, as kubectl has it.
        known = found | known
        current = current or document.get("current-context") or ""
    return known, current


def _unreadable(path: Path, why: str) -> InvalidInputError:
    # What the parser says quotes the file, which holds credentials.
    return InvalidInputError(f"`{path}` is not a kubeconfig that can be read ({why}).")


def _no_context(name: str, known: Mapping[str, str]) -> NotFoundError:
    if not name:
        return NotFoundError(
            "The kubeconfig has no current context.",
            hint=f"`--context NAME`, with {one_of(known)}." if known else None,
        )
    return NotFoundError(
        f"The kubeconfig has no context `{name}`.",
        hint=did_you_mean(name, known) or f"It has {one_of(sorted(known))}.",
    )


def _client(paths: Sequence[Path], context: str) -> ApiClient:
    from kubernetes.config import ConfigException, new_client_from_config

    try:
        client = new_client_from_config(os.pathsep.join(map(str, paths)), context)
    except (ConfigException, OSError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The context `{context}` of the kubeconfig cannot be used ({type(error).__name__}).",
            hint=f"`kubectl --context {context} version` says more.",
        ) from error
    return _quiet(client)


def _from_within(namespace: str) -> Cluster:
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config import ConfigException, load_incluster_config

    configuration = Configuration()
    try:
        load_incluster_config(configuration)
    except (ConfigException, OSError) as error:
        raise InvalidInputError(
            f"This pod has no service account to authenticate to its cluster: {error}.",
            hint="`automountServiceAccountToken: true`, or name a kubeconfig.",
        ) from error
    own = _POD / "namespace"
    fallback = own.read_text().strip() if own.exists() else _DEFAULT_NAMESPACE
    return Cluster(_quiet(ApiClient(configuration)), "", namespace or fallback)


def _quiet(client: ApiClient) -> ApiClient:
    """Return a client that says by an error what is wrong, and nothing to the terminal."""
    from kubernetes.client import ApiClient

    configuration = client.configuration
    # urllib3 would log each attempt.
    configuration.retries = False
    if not configuration.verify_ssl:
        import urllib3

        # Who wrote `insecure-skip-tls-verify` knows; kubectl says nothing either.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return ApiClient(configuration)
