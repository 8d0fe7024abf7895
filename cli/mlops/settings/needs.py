"""What the parts below commands and workflows need of the settings, and no more.

`Settings` has all of it, so commands and workflows pass that; a part says by one of these types
what it reads, and mypy keeps it to that. A program that uses a part by itself may pass a record of
its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mlops.settings.platforms import (
    ClusterSettings,
    KServeSettings,
    KubernetesSettings,
    MonitoringSettings,
    Seldon2Settings,
    SeldonSettings,
)
from mlops.settings.schema import (
    ArtifactSettings,
    AuthSettings,
    CacheSettings,
    DeploySettings,
    FeedbackSettings,
    JournalSettings,
    ReportSettings,
    TrackingSettings,
    TrainingSettings,
    WatchSettings,
)
from mlops.settings.schema import (
    LogSettings as LogSinkSettings,
)


class StoreSettings(Protocol):
    """Where MLflow, its artifacts and the project's own files are; as the same in `Settings`."""

    @property
    def project_dir(self) -> Path:
        """Folder of the project file."""
        ...

    @property
    def project_name(self) -> str:
        """Name of the project, and of the models that it registers."""
        ...

    @property
    def home(self) -> Path:
        """Folder of the project's own state."""
        ...

    def make_home(self) -> Path:
        """Make that folder, private, and return it."""
        ...

    @property
    def origins(self) -> Mapping[str, str]:
        """`section.key` to where its value is from."""
        ...

    @property
    def tracking(self) -> TrackingSettings:
        """The MLflow server."""
        ...

    @property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI in force."""
        ...

    @property
    def artifacts(self) -> ArtifactSettings:
        """The artifact store."""
        ...

    @property
    def artifact_root(self) -> str:
        """Folder or URI under which new experiments keep their artifacts."""
        ...

    @property
    def cache(self) -> CacheSettings:
        """The cache of fetched models."""
        ...


class DeploymentSettings(StoreSettings, Protocol):
    """Where deployments of the project are, and their journals; beside what `StoreSettings` has."""

    @property
    def deploy(self) -> DeploySettings:
        """A server of this machine."""
        ...

    @property
    def journal(self) -> JournalSettings:
        """Its journal."""
        ...

    @property
    def cluster(self) -> ClusterSettings:
        """How to get to a cluster."""
        ...


class LogSettings(StoreSettings, Protocol):
    """Where the request log goes; beside what `StoreSettings` has."""

    @property
    def log(self) -> LogSinkSettings:
        """Its sinks."""
        ...


class RolloutSettings(DeploymentSettings, LogSettings, Protocol):
    """What a new revision is made of, beside what `DeploymentSettings` has."""

    @property
    def project_file(self) -> Path | None:
        """The file that the values come from, if there is one."""
        ...

    @property
    def auth(self) -> AuthSettings:
        """Whose tokens are trusted beside the API keys."""
        ...

    @property
    def feedback(self) -> FeedbackSettings:
        """What feedback is worth, and until when it counts."""
        ...

    @property
    def report(self) -> ReportSettings:
        """How the verdict is made."""
        ...

    @property
    def watch(self) -> WatchSettings:
        """What a server of this machine watches."""
        ...

    @property
    def monitoring(self) -> MonitoringSettings:
        """What Prometheus and Grafana are told."""
        ...

    @property
    def kubernetes(self) -> KubernetesSettings:
        """What rendered manifests ask for."""
        ...

    @property
    def kserve(self) -> KServeSettings:
        """The same for KServe alone."""
        ...

    @property
    def seldon(self) -> SeldonSettings:
        """The same for Seldon Core 1."""
        ...

    @property
    def seldon2(self) -> Seldon2Settings:
        """The same for Seldon Core 2."""
        ...


class TrainSettings(StoreSettings, Protocol):
    """What a training reads, beside what `StoreSettings` has."""

    @property
    def training(self) -> TrainingSettings:
        """Where and in which environment runs are executed."""
        ...

    @property
    def feedback(self) -> FeedbackSettings:
        """Names the metric and the data by which models are compared."""
        ...

    @property
    def journal(self) -> JournalSettings:
        """Names the features whose values are to be kept nowhere."""
        ...


def value_at(settings: object, key: str) -> Any:  # noqa: ANN401 - whatever the setting holds
    """Return the setting that `section.name` names."""
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)
