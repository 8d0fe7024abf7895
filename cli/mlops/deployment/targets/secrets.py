"""Commands that make the Secrets of a deployment in a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from mlops.deployment.targets.base import RenderOptions
from mlops.spec.deployment import DeploymentSpec


def commands(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    """Say how to make the Secrets; no value passes through an argument."""
    own = options.kubernetes
    namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
    if not own.key_secret:
        more = " --from-file=token=<(head -c 32 /dev/urandom | base64 | tr -d '\\n')"
        # Of a deployment that was on this machine: with another key its pods do not start.
        key = shlex.quote(options.key_file) if options.key_file else "<(head -c 32 /dev/urandom)"
        yield (
            f"kubectl create secret generic {spec.name}-mlops{namespace} "
            f"--from-file=request-id-key={key}"
            f"{'' if own.insecure_no_auth else more}"
        )
    yield from of_keys(spec, options)
    if options.postgresql and not own.journal_secret:
        yield (
            f"kubectl create secret generic {spec.name}-journal{namespace} "
            "--from-file=url=/dev/stdin  # then type the PostgreSQL URL and Ctrl-D"
        )


def of_keys(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    """Yield how to give the pods the API keys of this machine, if there are any."""
    if options.keys_file and not options.kubernetes.keys_secret:
        namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
        yield (
            f"kubectl create secret generic {spec.name}-keys{namespace} "
            f"--from-file=keys.json={shlex.quote(options.keys_file)} "
            "--dry-run=client -o yaml | kubectl apply -f -"
        )
