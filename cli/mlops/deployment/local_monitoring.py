"""`mlops deploy --with monitoring` on this machine: files for a Prometheus and a Grafana."""

from __future__ import annotations

from urllib.parse import urlsplit

from mlops.deployment.manifest_files import RenderedFile, default_folder, put_files
from mlops.deployment.option_rules import check_extras
from mlops.deployment.prometheus.files import faults, on_machine
from mlops.deployment.rollouts import ROLLOUTS
from mlops.deployment.targets.base import Refusal, refuse
from mlops.errors import UsageError
from mlops.settings.needs import RolloutSettings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.server import ServerState


def check_watching(settings: RolloutSettings) -> None:
    """Refuse extras and settings that do not apply, before anything is deployed.

    Raises:
        UsageError: There is no such extra, or it is about a cluster.
        InvalidInputError: A setting of `[monitoring]` is wrong.
    """
    check_extras(settings)
    if ROLLOUTS in settings.cluster.extras:
        raise UsageError(
            "`--with rollouts` is about a cluster, and `--target local` is this machine.",
            hint="Add `--target kubernetes`; here `mlops ramp` and `--auto` move a canary.",
        )
    refuse("There can be no monitoring", (Refusal(*fault) for fault in faults(settings.monitoring)))


def write_watching(
    settings: RolloutSettings, spec: DeploymentSpec, state: ServerState
) -> tuple[RenderedFile, ...]:
    """Write what Prometheus and Grafana need for a server of this machine.

    Args:
        settings: The project's settings.
        spec: What is deployed.
        state: The state of its server.

    Raises:
        InvalidInputError: The folder cannot be written.
        ConflictError: A file in the folder was not rendered by mlops.
    """
    address = urlsplit(state.url).netloc
    launch = state.launch
    ca_file = launch.tls.cert if launch.tls else ""
    texts = on_machine(spec, settings.monitoring, address, launch.credentials, ca_file)
    return put_files(texts, default_folder(settings.project_dir, spec.name))
