"""Every setting, its default, and the variables that name it.

A section is a table of `mlops.toml`; a field is a key in it. `MLOPS_<SECTION>_<KEY>` sets any of
them; `env` in the field's metadata lists the variables of other tools that mean the same, one
written `s3:NAME` only for artifacts of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError
from mlops.settings.field import MAX_PORT, setting
from mlops.settings.platforms import (
    ClusterSettings,
    KServeSettings,
    KubernetesSettings,
    MonitoringSettings,
    Seldon2Settings,
    SeldonSettings,
)
from mlops.settings.private import make_private
from mlops.settings.project import project_name
from mlops.settings.secrets import is_reference

# Times that far back have no date in some places.
_CENTURY_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """Where MLflow keeps runs, models, aliases and deployment revisions."""

    uri: str = setting(
        "",
        "MLflow tracking URI; empty means SQLite in `.mlops/mlflow.db` of the project",
        env=("MLFLOW_TRACKING_URI",),
    )
    experiment: str = setting(
        "",
        "MLflow experiment of `mlops train`; empty means the project's name",
        env=("MLFLOW_EXPERIMENT_NAME",),
    )


@dataclass(frozen=True, slots=True)
class ArtifactSettings:
    """Where models and other artifacts are stored."""

    root: str = setting(
        "",
        "folder or URI (s3://…, gs://…) of new experiments; empty means `.mlops/artifacts`",
        form="place",
    )
    endpoint_url: str = setting(
        "",
        "URL of the store's server, for MinIO and others; empty means the provider's own",
        env=("s3:MLFLOW_S3_ENDPOINT_URL", "gs:STORAGE_EMULATOR_HOST"),
        form="place",
    )
    region: str = setting("", "region of the bucket", env=("s3:AWS_DEFAULT_REGION",))
    trust: bool = setting(
        False, "load models that were trained elsewhere; loading a model runs the code in it"
    )
    credentials: str = setting(
        "",
        "where the store's credentials are: environment, profile:NAME or file:PATH; empty means "
        "where the store's client looks",
        form="source",
    )


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How `mlops train` executes a project, and what it keeps of a run."""

    env_manager: str = setting(
        "auto", "environment of the runs: auto, local, uv, virtualenv or conda"
    )
    warm: bool = setting(
        True, "fork runs from a process that has imported everything; false: MLflow's own runner"
    )
    backend: str = setting("local", "where runs execute: local, ray, kubernetes or databricks")
    ray_address: str = setting(
        "",
        "Ray cluster, for example ray://head:10001; empty means one on this machine",
        env=("RAY_ADDRESS",),
    )
    ray_cpus: int = setting(1, "processors of the cluster that a run takes", low=1)
    image: str = setting("", "image of a Kubernetes Job: the project, its packages, and mlops")
    image_project: str = setting("/project", "folder in that image with the MLproject")
    namespace: str = setting("", "namespace of the Job; empty leaves it to kubectl")
    secret: str = setting("", "Secret with what the Job's pods need to reach MLflow and its store")
    cpu: str = setting("1", "CPU that a trial in a Job requests")
    memory: str = setting("2Gi", "memory that a trial in a Job requests, and may not exceed")
    ephemeral_storage: str = setting("10Gi", "disk of a trial in a Job, reserved and the limit")
    diff: bool = setting(True, "keep the changes of tracked files with a run whose code is dirty")


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Models downloaded from a store, in `.mlops/cache`."""

    max_mb: int = setting(
        20_000, "megabytes it may hold; the least recently used goes, what is in use stays"
    )


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """The append-only record of decisions and outcomes."""

    url: str = setting(
        "",
        "SQLAlchemy URL, `env:VARIABLE` or `file:PATH` with one; empty means SQLite in "
        "`.mlops/journal/NAME.db`",
    )
    features: str | tuple[str, ...] = setting(
        "all", '"all", "none", or a list of the features to keep with each decision'
    )
    hash: tuple[str, ...] = setting(
        (), "features that are kept as keyed hashes only, each under its name with a `#` behind it"
    )
    drop: tuple[str, ...] = setting((), "features that are never kept")
    max_mb: int = setting(
        2_000,
        "megabytes from which status, report and the server's log warn, and at ten times that "
        "requests are written without features; 0 for neither",
    )
    retention_days: int = setting(
        0,
        "days after which `mlops journal prune` forgets features; 0 means it must be told",
        high=_CENTURY_DAYS,
    )
    consumers: tuple[str, ...] = setting(
        (), "names of consumers, from other packages, that read the journal beside the server"
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where a copy of requests, answers and outcomes goes."""

    sinks: tuple[tuple[str, str], ...] = setting(
        (),
        "tables `[log.sinks.NAME]` with `kind`, `to` and more, see docs/request-log.md",
        form="tables",
    )


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """What is watched beside a server of this machine, by reading its journal."""

    drift: bool = setting(True, "whether requests and answers drift from the training data")
    quality: bool = setting(True, "whether answers are worse than in validation, where truth comes")
    outliers: bool = setting(False, "how many requests are unlike the training data, one by one")
    labels: str = setting(
        "unknown",
        "`random` if the rows that have a label are a random sample of all rows at any time, with "
        "no kind of label sooner: quality then says how good all answers are; or `unknown`",
    )
    webhook: str = setting(
        "", "`env:VARIABLE` or `file:PATH` with the URL that alarms are posted to, as of Slack"
    )
    season: str = setting(
        "none",
        "`day` or `week` if requests differ within one: drift compares whole ones; or `none`",
    )


def labels_at_random(value: str) -> bool:
    """Whether the rows that get a label are a random sample of those answered.

    Raises:
        InvalidInputError: It says something unknown.
    """
    if value not in ("unknown", "random"):
        raise InvalidInputError(f"`watch.labels` is `{value}`.", hint="Use `unknown` or `random`.")
    return value == "random"


_SEASONS_MS = {"": 0, "none": 0, "day": 86_400_000, "week": 7 * 86_400_000}


def season_ms(name: str) -> int:
    """Return the length of a season in milliseconds; 0 for none.

    Raises:
        InvalidInputError: There is no such season.
    """
    if name not in _SEASONS_MS:
        raise InvalidInputError(f"`watch.season` is `{name}`.", hint="Use `none`, `day` or `week`.")
    return _SEASONS_MS[name]


def check_webhook(reference: str) -> None:
    """Make sure that a setting names where a webhook's URL is, and does not hold it.

    Raises:
        InvalidInputError: It does not.
    """
    if reference and not is_reference(reference):
        raise InvalidInputError(
            "`watch.webhook` is no reference: who knows a webhook's URL can post to it.",
            hint='webhook = "env:ALERTS_URL", or "file:PATH" of a file with the URL',
        )


def watched(settings: WatchSettings) -> tuple[str, ...]:
    """Return the names of what is watched.

    >>> watched(WatchSettings(drift=True))
    ('drift', 'quality')
    """
    return tuple(item.name for item in fields(settings) if getattr(settings, item.name) is True)


@dataclass(frozen=True, slots=True)
class DeploySettings:
    """Defaults of `mlops deploy`."""

    name: str = setting("", "name of the deployment; empty means the project's name")
    host: str = setting("127.0.0.1", "address the server listens on")
    port: int = setting(
        0, "port the server listens on; 0 means the first free one from 8080", high=MAX_PORT
    )
    grpc_port: int = setting(
        0, "port the server listens on for gRPC; 0 means no gRPC", high=MAX_PORT
    )
    hosts: tuple[str, ...] = setting(
        (), "further names under which callers reach the server, as of a proxy in front of it"
    )
    tls_cert: str = setting("", "certificate of the server in PEM, with its chain; empty: no TLS")
    tls_key: str = setting("", "private key of that certificate, in PEM")
    tls_client_ca: str = setting(
        "", "authorities in PEM of which callers must have a certificate; empty: they need none"
    )
    tls_client_crl: str = setting(
        "", "lists in PEM of callers' certificates that are revoked, one of each authority; no gRPC"
    )
    insecure_no_auth: bool = setting(False, "serve requests without a key also beyond this machine")
    max_bodies_mib: int = setting(
        128,
        "MiB, from 16, that all large request bodies under way may have; beyond it 503",
        low=16,
    )
    workers: int = setting(
        0, "processes that share the requests; 0 means 1, and in a pod its CPU limit"
    )
    sticky_by: str = setting("", "`header:NAME` or `field:NAME`; the same value, the same arm")
    horizon: str = setting(
        "",
        "planned end of the test: requests (or sticky units) with a reward, or a time such as "
        "`14d`; empty: none",
        form="number or text",
    )
    policy: str = setting(
        "weighted", "how arms are drawn, and its options: `weighted`, `thompson floor=0.05`, ..."
    )
    ramp: tuple[tuple[str, str], ...] = setting(
        (),
        "how the share of a `--canary` grows: shares in per cent, or a table of `steps`, `every`, "
        "`advance` and `auto`; empty: it stays",
        form="ramp",
    )
    isolate: str = setting(
        "auto",
        "models in an environment of their own: those with conflicting packages (`auto`), `never` "
        "or `always`",
    )
    redraw: bool = setting(
        False, "draw sticky units that came before again when weights change; false: they stay"
    )
    runtime: str = setting(
        "auto", "what executes the models: `auto`, or the name of one (`mlops deploy --help`)"
    )
    new_key: bool = setting(False, "go on with another key where the deployment's is lost")
    new_journal: bool = setting(False, "begin a new journal where the deployment's is lost")


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Whose signed tokens (JWT) a server takes beside API keys."""

    issuer: str = setting("", "`iss` of the tokens; empty: none are taken")
    audience: str = setting("", "`aud` that they must have")
    jwks: str = setting("", "https URL, or file, of the issuer's public keys (JWKS)", form="place")
    algorithms: tuple[str, ...] = setting(
        ("RS256", "ES256"), "signatures that count; never `none`, nor those with a shared secret"
    )
    scope_claim: str = setting("scope", "claim with the scopes, as `realm_access.roles`")
    scope_prefix: str = setting("", "what stands before each scope there, as `mlops:`")
    leeway_s: int = setting(30, "seconds by which clocks may differ")
    refresh_s: int = setting(300, "seconds after which the keys are fetched again", low=1)


@dataclass(frozen=True, slots=True)
class FeedbackSettings:
    """What a bare `mlops feedback` plays, and how truth becomes a reward."""

    data: str = setting("", "CSV file of labelled rows that `mlops feedback` replays")
    truth_column: str = setting("", "column of `data` that holds the label")
    reward: str = setting(
        "",
        "a built-in reward (`mlops deploy --help` names them), or module:function; empty: what "
        "follows from what the models answer",
        form="reward",
    )
    reward_range: tuple[float, float] | None = setting(
        None, "[low, high]: no reward is ever outside; exact verdicts in return. Empty: no promise"
    )
    window: str = setting(
        "", "attribution window, as `7d`: feedback counts this long after its request; empty: none"
    )
    missing: str = setting(
        "",
        "reward of a request whose window closed without feedback, or `left-out`; empty: none",
        form="number or text",
    )
    failed: str = setting(
        "",
        "reward of a request that its model failed or refused; empty: none",
        form="number or text",
    )
    repeated: str = setting(
        "first", "several outcomes of one row: the first stands, the last corrects, or they sum"
    )
    max_per_unit: int = setting(
        0, "outcomes of one sticky unit, else of one request, that count; 0: all"
    )
    max_per_key: str = setting(
        "", "outcomes that came with one API key that count, as `1000/1d`; empty: all"
    )
    outcome_ids: bool = setting(
        False,
        "where a row may have several outcomes, refuse those without an `outcome_id`, which "
        "identifies one that is sent again",
    )
    costs: tuple[tuple[str, str, float], ...] = setting(
        (),
        "of the reward `cost`: a table of tables, truth -> prediction -> cost; a right prediction "
        "that is not named costs 0",
        form="costs",
    )
    decision_rule: str = setting(
        "",
        "what the reward `cost` takes for the prediction of probabilities: most-likely, min-cost "
        "(least expected cost) or threshold=T; empty: the most likely class",
        form="decision rule",
    )
    client_ids: bool = setting(
        True, "feedback may name a request by its caller's own id, which may be guessed"
    )
    draws: int = setting(0, "draw so many rows with replacement; 0 sends each row once")
    seed: int = setting(0, "seed of the draws")


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How sure a verdict has to be.

    `alpha` and `baseline` are those of each report. `worth`, `guardrails`, `min_days`, `adjust` and
    `per` are frozen with a revision by `mlops deploy`.
    """

    alpha: float = setting(0.05, "probability in (0, 1) of ever naming a false winner")
    baseline: str = setting("", "arm the others are compared with; empty means the first")
    worth: str = setting(
        "",
        "smallest difference worth having, in units of reward: verdicts of equal and not worse",
        form="number or text",
    )
    paired: bool = setting(
        True,
        "ask every arm about the rows with a label, too, and let that decide where it can; settled "
        "at deployment",
    )
    min_days: str = setting(
        "auto",
        "days that evidence must span; auto: a week where traffic has the rhythm of days",
        form="number or text",
    )
    guardrails: tuple[tuple[str, float], ...] = setting(
        (),
        "metrics that must not get worse, with the loss accepted: a table such as { latency_ms = "
        "50, errors = 0.01 }, of latency_ms, latency_p95_ms, errors, refusals and rewards",
        form="margins",
    )
    adjust: str = setting(
        "",
        "feature with numbers, or history, that rewards are adjusted by (CUPED); empty: none",
    )
    per: str = setting(
        "",
        "compare the sum of rewards per `outcomes` or per `requests`, over all units of an arm; "
        "empty: the mean of units",
    )
    segments: str = setting("", "feature whose segments a report lists; empty: none")
    all: bool = setting(False, "take evidence from before the experiment was last ended, too")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one project, and where each came from.

    Attributes:
        project_dir: Folder of the project file, where `.mlops` lives.
        project_file: The file the values come from, if there is one.
        origins: `section.key` to a text that names the source, for every setting.
    """

    project_dir: Path
    project_file: Path | None
    origins: Mapping[str, str]
    tracking: TrackingSettings
    artifacts: ArtifactSettings
    training: TrainingSettings
    cache: CacheSettings
    journal: JournalSettings
    log: LogSettings
    watch: WatchSettings
    deploy: DeploySettings
    auth: AuthSettings
    feedback: FeedbackSettings
    report: ReportSettings
    cluster: ClusterSettings
    monitoring: MonitoringSettings
    kubernetes: KubernetesSettings
    kserve: KServeSettings
    seldon: SeldonSettings
    seldon2: Seldon2Settings

    @property
    def home(self) -> Path:
        """The project's own state: database, artifacts, journals, running servers."""
        return self.project_dir / ".mlops"

    @property
    def project_name(self) -> str:
        """`name` in the project's `MLproject`, else the folder's name."""
        return project_name(self.project_dir)

    @property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI in force."""
        return self.tracking.uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str:
        """Folder or URI under which new experiments keep their artifacts."""
        return self.artifacts.root or str(self.home / "artifacts")

    def make_home(self) -> Path:
        """Create `.mlops`, private and ignored by git as it holds a key, and return it."""
        make_private(self.home)
        ignore = self.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        return self.home


#: Section name to the record that declares its keys.
SECTIONS: Mapping[str, type[Any]] = {
    "tracking": TrackingSettings,
    "artifacts": ArtifactSettings,
    "training": TrainingSettings,
    "cache": CacheSettings,
    "journal": JournalSettings,
    "log": LogSettings,
    "watch": WatchSettings,
    "deploy": DeploySettings,
    "auth": AuthSettings,
    "feedback": FeedbackSettings,
    "report": ReportSettings,
    "cluster": ClusterSettings,
    "monitoring": MonitoringSettings,
    "kubernetes": KubernetesSettings,
    "kserve": KServeSettings,
    "seldon": SeldonSettings,
    "seldon2": Seldon2Settings,
}


def keys(section: str) -> list[str]:
    """Names of the keys of one section."""
    return [item.name for item in fields(SECTIONS[section])]
