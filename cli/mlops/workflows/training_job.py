"""`mlops train --backend kubernetes`: an indexed Job whose pods are the trials.

Nothing is applied and nothing is written to MLflow: each pod is a `mlops train` of its own, which
creates its run, and the tags `job` and `trial` say which belong together.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops.deployment.manifest_files import RenderedFile, apply_command, put_files
from mlops.deployment.option_rules import STDOUT
from mlops.deployment.targets import pods
from mlops.deployment.targets.addresses import IN_THE_CLUSTER, pod_itself
from mlops.deployment.targets.base import Refusal, refuse
from mlops.deployment.yaml_templates import render_template
from mlops.errors import InvalidInputError, UsageError
from mlops.linting.addresses import is_loopback
from mlops.settings.project import as_name
from mlops.settings.secrets import without_credentials
from mlops.training.remote_plan import Plan, plan_trials
from mlops.training.runner.shared_store import check_shared

if TYPE_CHECKING:
    from mlops.settings import Settings
    from mlops.settings.schema import TrainingSettings
    from mlops.training import TrainRequest

_NO_JOB = "A Job cannot be rendered"
_FILES = ("configmap", "networkpolicy", "job")
_INDEX = "$(JOB_COMPLETION_INDEX)"
# A ConfigMap has at most 1 MiB, and its names count as well.
_MOST_BYTES = 900_000
_OF_PODS = (
    *("image", "image_project", "namespace", "secret"),
    *("cpu", "memory", "ephemeral_storage"),
)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A rendered Job.

    Attributes:
        name: The Job's name, and the value of the tag `job` of its runs.
        experiment: Where its runs will be.
        trials: How many there are.
        parallel: How many run at a time.
        files: The manifests, in the order in which they are to be applied.
        written: Whether they are in a folder now.
        next_commands: How to apply them; empty if they are not written.
    """

    name: str
    experiment: str
    trials: int
    parallel: int
    files: tuple[RenderedFile, ...]
    written: bool
    next_commands: tuple[str, ...]

    @property
    def stream(self) -> str:
        """All manifests as one YAML stream."""
        return "---\n".join(file.text for file in self.files)


def render_job(request: TrainRequest, settings: Settings, to: str | None = None) -> TrainingJob:
    """Render a Job that runs a project once, or once for each point of a grid.

    Args:
        request: What to train.
        settings: Where MLflow is, and what the pods are like.
        to: Folder; `-` writes none; None means `train/NAME` of the project.

    Raises:
        UsageError: An option needs results, or what is on this machine.
        InvalidInputError: The pods could not run, or could not reach MLflow; nothing was written.
        ConflictError: A file in the folder was not rendered by mlops.
    """
    _check_place(settings)
    _check_settings(settings)
    plan = plan_trials(request, settings)
    facts = _facts(request, settings, plan)
    texts = {f"{kind}.yaml": render_template(f"training/{kind}.yaml", facts) for kind in _FILES}
    folder = None if to == STDOUT else _folder(settings, plan, to)
    files = put_files(texts, folder)
    parallel = min(request.sweep.jobs, len(plan.points))
    return TrainingJob(
        name=str(facts["name"]),
        experiment=plan.experiment,
        trials=len(plan.points),
        parallel=parallel,
        files=files,
        written=folder is not None,
        next_commands=(apply_command(files),) if folder else (),
    )


def _check_place(settings: Settings) -> None:
    check_shared(settings, "The pods of a Job")
    uri = settings.tracking_uri
    for what, place in (("MLflow", uri), ("the artifacts' store", settings.artifacts.endpoint_url)):
        if is_loopback(place):
            raise InvalidInputError(f"{pod_itself(what, place)}.", hint=IN_THE_CLUSTER)
    if without_credentials(uri) != uri and not settings.training.secret:
        raise InvalidInputError(
            f"`{without_credentials(uri)}` is given with credentials, and those are kept out of "
            "manifests.",
            hint="Put the whole URI into a Secret as MLFLOW_TRACKING_URI, and name that Secret in "
            "`secret` of [training].",
        )


def _check_settings(settings: Settings) -> None:
    training = settings.training
    if not training.image:
        raise UsageError(
            "A Job needs an image, and there is none that would do for every project.",
            hint="Build one with the project in /project, the packages that its script imports, "
            "and `pip install mlops-loop`; name it with `--image` or `image` of [training].",
        )
    refusals = [*_refusals(training), *pods.scheduling_refusals(settings.cluster)]
    refuse(_NO_JOB, refusals)


def check_training_pods(training: TrainingSettings) -> None:
    """Check what `[training]` says of a Job's pods; it may name no image yet.

    Raises:
        InvalidInputError: No pod can be like that.
    """
    refuse(_NO_JOB, _refusals(training))


def _refusals(training: TrainingSettings) -> Iterator[Refusal]:
    yield from pods.image("training.image", training.image)
    folder = training.image_project
    if not re.fullmatch(r"/[^\0:]+", folder):
        yield Refusal(f"`training.image_project` is `{folder}`", "Write it as `/project`.")
    yield from pods.quantity("training.cpu", training.cpu, "500m")
    yield from pods.quantity("training.memory", training.memory)
    yield from pods.quantity("training.ephemeral_storage", training.ephemeral_storage)
    yield from pods.object_names(
        ("training.namespace", training.namespace), ("training.secret", training.secret)
    )


def _facts(request: TrainRequest, settings: Settings, plan: Plan) -> dict[str, object]:
    training, store = settings.training, settings.artifacts
    uri, scheme = settings.tracking_uri, urlsplit(store.root).scheme
    scheduling = pods.scheduling(settings.cluster)
    facts: dict[str, object] = {
        **{key: getattr(training, key) for key in _OF_PODS},
        # Left out where empty: the name of a Job is made from all of this, and did not have it.
        **({"scheduling": scheduling} if scheduling else {}),
        "project": _label(plan.project),
        "completions": len(plan.points),
        "parallelism": min(request.sweep.jobs, len(plan.points)),
        # Unicode as it is: YAML, as which it is read, has no surrogate pairs.
        "trials": {
            f"{number}.json": json.dumps(dict(point), ensure_ascii=False)
            for number, point in enumerate(plan.points)
        },
        "tracking_uri": uri if uri == without_credentials(uri) else "",
        "artifact_root": store.root if scheme in ("s3", "gs") else "",
        "endpoint_url": store.endpoint_url,
        "region": store.region,
        # The two shapes of `mlops stores secret --for kubernetes`.
        "mounts_key": scheme == "gs",
    }
    _check_size(facts)
    words = _words(request, plan)
    identity = json.dumps([facts, words], default=asdict)
    short = hashlib.sha256(identity.encode()).hexdigest()[:8]
    name = f"{facts['project']}-{short}"
    tags = ("--tag", f"job={name}", "--tag", f"trial={_INDEX}")
    return {"scheduling": {}, **facts, "name": name, "arguments": [*words, *tags]}


def _words(request: TrainRequest, plan: Plan) -> list[str]:
    """Return the command of a pod."""
    words = ["train", ".", "--backend", "local", "--env-manager", "local"]
    options = {
        "--entry": plan.entry_point,
        "--experiment": plan.experiment,
        "--register": request.register,
        "--alias": request.alias,
        "--model": request.model,
    }
    for option, value in options.items():
        words += [option, _literal(value)] if value else []
    for tag in request.tags:
        words += ["--tag", _literal(tag)]
    if plan.axes or request.no_register:
        words.append("--no-register")
    return [*words, "--param", f"@/etc/mlops/trials/{_INDEX}.json"]


def _literal(text: str) -> str:
    """Write text such that Kubernetes finds no variable in it."""
    return text.replace("$", "$$")


def _check_size(facts: Mapping[str, object]) -> None:
    size = len(json.dumps(facts["trials"], ensure_ascii=False).encode())
    if size > _MOST_BYTES:
        raise InvalidInputError(
            f"The trials' parameters take {size:,} bytes, and a ConfigMap holds {_MOST_BYTES:,}.",
            hint="Make two sweeps of it.",
        )


def _label(text: str) -> str:
    # Pods are called NAME-INDEX, which is a host name of 63 characters at most.
    return re.sub(r"[^a-z0-9]+", "-", as_name(text).lower()).strip("-")[:45].strip("-") or "project"


def _folder(settings: Settings, plan: Plan, to: str | None) -> Path:
    if to is not None:
        return Path(to)
    folder = settings.project_dir / "train" / _label(plan.project)
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
