"""The gateway to a Kubernetes API, through the official client (extra `kubernetes`).

It knows objects, their readiness and their faults, and nothing of deployments. The client provides
what is hard to get right, kubeconfigs, credential plugins and TLS; paths are made here from the
API's own discovery, so that a kind costs one request and no cache on disk. Beside it,
`mlops.cluster.ray` connects to Ray.
"""

from mlops.cluster.connect import Cluster, connect
from mlops.cluster.objects import Manifest, apply, delete, get, list_objects

__all__ = ["Cluster", "Manifest", "apply", "connect", "delete", "get", "list_objects"]
