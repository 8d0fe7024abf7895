"""The sections about clusters and the platforms on them."""

from __future__ import annotations

from dataclasses import dataclass

from mlops.settings.field import MAX_PORT, setting


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What all manifests have in common, whatever the platform."""

    kubeconfig: str = setting(
        "", "kubeconfig that says where clusters are; empty: ~/.kube/config", env=("KUBECONFIG",)
    )
    context: str = setting("", "context of the kubeconfig; empty: its current one")
    namespace: str = setting("", "namespace of the objects; empty: the context's, left to kubectl")
    timeout_s: int = setting(600, "seconds to wait until what was applied is ready")
    image: str = setting("", "image of the model server; empty: ours, by the rendered Dockerfile")
    model_server: str = setting("", "mlops (ours), mlserver, prepackaged; empty: ours if possible")
    router: bool = setting(False, "put our server in front of the platform's model servers")
    router_image: str = setting(
        "", "image of that server where the model servers are not ours; empty: by the Dockerfile"
    )
    storage_secret: str = setting("", "Secret with the artifact store's credentials")
    service_account: str = setting("", "ServiceAccount of the pods, with rights in the cloud")
    image_pull_secrets: tuple[str, ...] = setting(
        (), "Secrets of the private registries that images are pulled from"
    )
    node_selector: tuple[str, ...] = setting(
        (), "labels that a node must have to run the pods, as `disktype=ssd`", form="labels"
    )
    tolerations: tuple[str, ...] = setting(
        (), "taints of nodes that the pods tolerate, as `dedicated=ml:NoSchedule` or `gpu`"
    )
    cpu: str = setting("500m", "CPU that a server requests")
    memory: str = setting("1Gi", "memory that a server requests, and may not exceed")
    ephemeral_storage: str = setting(
        "4Gi", "disk for the models and temporary files of a server, reserved and the limit"
    )
    extras: tuple[str, ...] = setting((), "what is rendered too, as `--with`: monitoring, rollouts")


@dataclass(frozen=True, slots=True)
class MonitoringSettings:
    """Settings of `--with monitoring` for Prometheus and Grafana."""

    monitor: str = setting("pod", "PodMonitor (pod) or ServiceMonitor (service)")
    release: str = setting("", "label `release` by which a Prometheus selects objects, if it does")
    namespace: str = setting("monitoring", "namespace of Prometheus, let in to the pods")
    interval: str = setting("30s", "how often the servers are scraped")
    prometheus: str = setting(
        "http://prometheus-operated.monitoring:9090", "where Flagger asks Prometheus"
    )
    secured: bool = setting(True, "Prometheus sends the `token` of the key's Secret")
    max_errors: float = setting(0.05, "share of failed requests of an arm that is too many")
    max_latency_ms: int = setting(1000, "milliseconds beyond which 1 request in 100 is too slow")
    feedback_within: str = setting("1d", "how long after its request feedback comes at the latest")


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """How `--target kubernetes` runs the bundled server."""

    mode: str = setting("plain", "plain or openshift, which chooses users and groups itself")
    replicas: int = setting(2, "pods at least; needs a journal in PostgreSQL", low=1)
    max_replicas: int = setting(10, "pods at most", low=1)
    journal_secret: str = setting("", "Secret whose key `url` is the journal's PostgreSQL URL")
    key_secret: str = setting("", "Secret with `request-id-key`, and `token`; empty: NAME-mlops")
    keys_secret: str = setting("", "Secret with `keys.json`, the API keys; empty: NAME-keys")
    insecure_no_auth: bool = setting(False, "serve requests without a key to any client")
    volume: str = setting("10Gi", "size of the volume of a SQLite journal")
    host: str = setting("", "host name for calls from outside the cluster; empty: none")
    gateway: str = setting("", "NAMESPACE/NAME of a Gateway for `host`; empty: an Ingress")
    ingress_class: str = setting("", "class of that Ingress; empty: the cluster's default")
    tls_secret: str = setting(
        "", "Secret with the certificate of that Ingress; empty: TLS is left to its controller"
    )
    allow_from: tuple[str, ...] = setting((), "namespaces that may call beside our own")
    grpc_port: int = setting(
        0, "port of the Service for gRPC, beside 80 for HTTP; 0: no gRPC", high=MAX_PORT
    )
    limit_egress: bool = setting(
        True, "pods call what they need and no more; false: anything, as in a mesh"
    )
    allow_to: tuple[str, ...] = setting(
        (), "what pods may call beside: ports, blocks such as 10.0.0.0/8:5432, namespaces"
    )


@dataclass(frozen=True, slots=True)
class KServeSettings:
    """The KServe that `--target kserve` renders for."""

    version: str = setting("0.20", "version of KServe in the cluster")
    mode: str = setting("standard", "standard or knative")
    split: str = setting("graph", "graph, canary or gateway: who splits the traffic")
    gateway: str = setting("kserve/kserve-ingress-gateway", "NAMESPACE/NAME, for `gateway`")
    gateway_api: str = setting("1.5", "version of the Gateway API, for `gateway`")
    host: str = setting("", "host name of the route, for `gateway`")
    headless: bool = setting(
        False, "whether Services in Standard mode have no address of their own; for `router`"
    )


@dataclass(frozen=True, slots=True)
class SeldonSettings:
    """The Seldon Core v1 that `--target seldon` renders for."""

    env_secret: str = setting("", "name of the Secret with the RCLONE_CONFIG_* keys of the store")
    version: str = setting("1.17.1", "version of Seldon Core in the cluster")
    mode: str = setting("istio", "istio or ambassador: the gateway in front")
    split: str = setting("auto", "graph, predictors, or auto: graph for two arms")


@dataclass(frozen=True, slots=True)
class Seldon2Settings:
    """The Seldon Core v2 that `--target seldon2` renders for."""

    version: str = setting("2.6.0", "version of Seldon Core in the cluster")
    memory: str = setting("200Mi", "memory that one model needs, for scheduling")
