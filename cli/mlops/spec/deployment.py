"""The deployment spec: arms, weights, shadows, stickiness and reward, frozen in a revision."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlops.errors import InvalidInputError, UsageError, one_of
from mlops.spec import attribution
from mlops.spec.analysis import HISTORY, Analysis, analysis_from
from mlops.spec.attribution import Attribution
from mlops.spec.endpoint import is_endpoint, parse_endpoint
from mlops.spec.model import ModelVersion
from mlops.spec.ramp import Ramp, ramp_from

#: Version of the written form of a spec.
SCHEMA_VERSION = 1
#: Most arms a revision may have; the request id has room for more.
MAX_ARMS = 64
#: Most shadows a revision may have.
MAX_SHADOWS = 8
#: Which models may run in an environment of their own.
ISOLATE = ("auto", "never", "always")
_MAX_NAME = 63
_MOST_LIKELY = "most-likely"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ARM = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAME_FAULT = (
    "the name `{}` must have 1 to 63 lower-case letters, digits or `-`, and begin and end with a "
    "letter or a digit"
)
_ARM_FAULT = (
    "`{}` cannot be an arm's name, which has 1 to 63 letters, digits, `.`, `_` or `-`, and begins "
    "and ends with a letter or a digit"
)
_STICKY = re.compile(r"(header|field):\S+")


@dataclass(frozen=True, slots=True)
class Arm:
    """One model version in an experiment.

    Attributes:
        name: Name in headers, metrics and reports.
        model: The pinned model version; `model.endpoint` if another server answers for it.
        weight: Share of the traffic in [0, 1].
    """

    name: str
    model: ModelVersion
    weight: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """One model version that gets copies of requests, and whose answers are not returned.

    Attributes:
        name: Name in metrics and reports; no arm has it.
        model: The pinned model version; `model.endpoint` if another server answers for it.
        share: Share of the requests it gets a copy of, in (0, 1].
    """

    name: str
    model: ModelVersion
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What a deployment is to be.

    Attributes:
        name: Name of the deployment, a DNS label.
        arms: At least one; the first is the baseline. Weights sum to 1.
        policy: How an arm is drawn; a name of `mlops.policies.POLICIES`.
        sticky_by: `header:NAME`, `field:NAME` or empty; requests with the same value get the
            same arm.
        reward: A name of `mlops.rewards.REWARDS`, or `module:function`; empty only until the
            models have been read.
        reward_range: Lowest and highest reward that may come, declared before looking; None for
            no range. Another range is another experiment.
        shadows: Models that are tried on copies of requests; not part of the experiment.
        redraw: Whether sticky units that came before are drawn again with these weights, instead of
            keeping the arm they had first.
        horizon: Units with a reward after which the experiment is to end; 0 for no planned end.
            Declared before looking: another one is another experiment.
        horizon_days: The same as a time, days; 0 for none.
        paired: Whether the verdict is shared by two comparisons, each at half of alpha: what arms
            earned, and what they answer about the same rows with a label. Settled at deployment,
            since it may not depend on what comes.
        attribution: Which feedback counts for a request, and what missing feedback means.
        analysis: How the evidence is judged.
        costs: (truth, prediction, cost) of the reward `cost`, truth and prediction as text.
            Others are another experiment.
        runtime: What executes the arms' models: a name of `mlops.runtimes.RUNTIMES`, or `auto`.
            Their answers are the same, so the experiment is, too.
        isolate: Which models run in an environment of their own: those whose packages conflict
            with what is installed (`auto`), `never` or `always`.
        ramp: How the share of the second arm, the canary, grows; None if it is not moved. All
            steps are one experiment.
        decision_rule: What the reward `cost` takes for the prediction of probabilities: a rule of
            `mlops.rewards.decisions`, empty if none was chosen. Another one is another experiment.
    """

    name: str
    arms: tuple[Arm, ...]
    policy: str = "weighted"
    sticky_by: str = ""
    reward: str = "squared-error"
    reward_range: tuple[float, float] | None = None
    shadows: tuple[Shadow, ...] = ()
    redraw: bool = False
    horizon: int = 0
    paired: bool = False
    attribution: Attribution = field(default_factory=Attribution)
    costs: tuple[tuple[str, str, float], ...] = ()
    runtime: str = "auto"
    horizon_days: float = 0.0
    analysis: Analysis = field(default_factory=Analysis)
    isolate: str = "auto"
    ramp: Ramp | None = None
    decision_rule: str = ""

    @property
    def decides_by(self) -> str:
        """The decision rule in force; empty for another reward than `cost`.

        The most likely class where none was chosen: so were all costs counted before there was a
        choice.
        """
        return (self.decision_rule or _MOST_LIKELY) if self.costs else ""

    @property
    def experiment(self) -> str:
        """Identity of the experiment: revisions with the same arms and reward share evidence.

        So do those with the same rules of attribution, since these decide what a reward is.
        """
        arms = [(arm.name, *arm.model.identity) for arm in self.arms]
        promised: list[Any] = [list(self.reward_range)] if self.reward_range else []
        if self.paired:
            promised.append("paired")
        if self.horizon:
            promised.append(self.horizon)
        if self.horizon_days:
            promised.append(f"{self.horizon_days:g} days")
        promised += self.analysis.estimand
        if not self.attribution.is_default:
            promised.append(self.attribution.promised)
        promised += [self.costs] if self.costs else []
        if self.decides_by not in ("", _MOST_LIKELY):
            promised.append(self.decides_by)
        text = json.dumps([self.name, arms, self.reward, *promised])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def has_end(self) -> bool:
        """Whether the experiment has a planned end."""
        return bool(self.horizon or self.horizon_days)

    def index_of(self, arm: str) -> int:
        """Position of the arm called `arm`.

        Raises:
            InvalidInputError: There is none.
        """
        for index, candidate in enumerate(self.arms):
            if candidate.name == arm:
                return index
        names = ", ".join(f"`{candidate.name}`" for candidate in self.arms)
        raise InvalidInputError(
            f"`{self.name}` has no arm called `{arm}`.", hint=f"Its arms are {names}."
        )

    def only(self, arm: str) -> DeploymentSpec:
        """Return this spec with the one arm called `arm`, which gets all traffic.

        Without shadows and ramp, which were about the others; no unit is drawn again.
        """
        winner = replace(self.arms[self.index_of(arm)], weight=1.0)
        return replace(self, arms=(winner,), shadows=(), ramp=None, redraw=False)

    def with_share(self, share: float) -> DeploymentSpec:
        """Return this spec with another share, in (0, 1), for the second of two arms.

        Sticky units keep the arms that they have, also where this revision has drawn them again.
        """
        base, canary = self.arms
        arms = replace(base, weight=1 - share), replace(canary, weight=share)
        return replace(self, arms=arms, redraw=False)

    @property
    def models(self) -> tuple[ModelVersion, ...]:
        """Models of the arms, then of the shadows."""
        arms = tuple(arm.model for arm in self.arms)
        return arms + tuple(shadow.model for shadow in self.shadows)


@dataclass(frozen=True, slots=True)
class Revision:
    """One numbered spec of a deployment.

    Attributes:
        number: From 1, growing; given by the ledger.
        spec: What was deployed.
    """

    number: int
    spec: DeploymentSpec


def check(spec: DeploymentSpec) -> DeploymentSpec:
    """Return `spec` if it can be deployed.

    Raises:
        InvalidInputError: It cannot; all faults are named at once.
    """
    faults = []
    if not _NAME.fullmatch(spec.name):
        faults.append(_NAME_FAULT.format(spec.name))
    if not 1 <= len(spec.arms) <= MAX_ARMS:
        faults.append(f"there must be 1 to {MAX_ARMS} arms, not {len(spec.arms)}")
    faults += _name_faults(spec)
    faults += [
        f"the weight of `{arm.name}` must be in [0, 1], not {arm.weight}"
        for arm in spec.arms
        if not 0 <= arm.weight <= 1
    ]
    if not math.isclose(sum(arm.weight for arm in spec.arms), 1, abs_tol=1e-6):
        faults.append("the weights must sum to 1")
    if spec.sticky_by and not _STICKY.fullmatch(spec.sticky_by):
        faults.append(f"`{spec.sticky_by}` is neither `header:NAME` nor `field:NAME`")
    if spec.reward_range and not -math.inf < spec.reward_range[0] < spec.reward_range[1] < math.inf:
        low, high = spec.reward_range
        faults.append(f"the range of the reward must grow, not go from {low:g} to {high:g}")
    if len(spec.shadows) > MAX_SHADOWS:
        faults.append(f"there may be {MAX_SHADOWS} shadows, not {len(spec.shadows)}")
    faults += [
        f"the share of the shadow `{shadow.name}` must be in (0, 1], not {shadow.share}"
        for shadow in spec.shadows
        if not 0 < shadow.share <= 1
    ]
    if spec.isolate not in ISOLATE:
        faults.append(f"`isolate` must be {one_of(ISOLATE)}, not `{spec.isolate}`")
    if spec.horizon < 0 or not 0 <= spec.horizon_days < math.inf:
        faults.append("the horizon must be 0 or more units, or a time")
    if spec.analysis.adjust == HISTORY and not spec.sticky_by:
        faults.append("`adjust = history` needs sticky units (`--sticky-by`): requests have none")
    faults += attribution.faults(spec.attribution) + _range_faults(spec) + _ramp_faults(spec)
    faults += _endpoint_faults(spec)
    if faults:
        raise InvalidInputError("This cannot be deployed: " + "; ".join(faults) + ".")
    return spec


def check_names(name: str, arms: Sequence[str]) -> None:
    """Refuse names that `check` would, before any model is looked up.

    Args:
        name: Of the deployment.
        arms: Of arms and shadows, as far as they are given.

    Raises:
        InvalidInputError: Some cannot be; all are named.
    """
    faults = [_NAME_FAULT.format(name)] if not _NAME.fullmatch(name) else []
    faults += [_ARM_FAULT.format(arm) for arm in arms if not _ARM.fullmatch(arm)]
    if faults:
        raise InvalidInputError(f"This cannot be deployed: {'; '.join(faults)}.")


def _ramp_faults(spec: DeploymentSpec) -> list[str]:
    if spec.ramp is None:
        return []
    faults = [] if len(spec.arms) == 2 else ["a ramp is of two arms, a baseline and its canary"]
    if not spec.analysis.guardrails:
        faults.append("a ramp needs a guardrail to move by (`--guardrail errors=0.01`)")
    if spec.policy.split(" ")[0] != "weighted":
        faults.append(
            f"the policy `{spec.policy}` moves the weights, and so would the ramp "
            "(`--policy weighted` leaves them to the ramp)"
        )
    return faults


def _range_faults(spec: DeploymentSpec) -> list[str]:
    if spec.reward_range is None:
        return []
    low, high = spec.reward_range
    rules = {"missing": spec.attribution.missing, "failed": spec.attribution.failed}
    return [
        f"`{name} = {worth:g}` is outside the range of the reward, {low:g} to {high:g}"
        for name, worth in rules.items()
        if isinstance(worth, float) and not low <= worth <= high
    ]


def _name_faults(spec: DeploymentSpec) -> list[str]:
    arms = [arm.name for arm in spec.arms]
    names = [*arms, *(shadow.name for shadow in spec.shadows)]
    twice = sorted({name for name in names if names.count(name) > 1})
    who = {name: "arms" if arms.count(name) > 1 else "arms or shadows" for name in twice}
    return [
        *(f"two {who[name]} are called `{name}`" for name in twice),
        *(_ARM_FAULT.format(name) for name in names if not _ARM.fullmatch(name)),
    ]


def _endpoint_faults(spec: DeploymentSpec) -> list[str]:
    faults = []
    named = {where for model in spec.models for where in (model.source, model.remote)}
    for where in sorted(filter(is_endpoint, named)):
        try:
            parse_endpoint(where)
        except UsageError as error:
            faults.append(error.message.rstrip("."))
    return faults


def arm_name(ref: str) -> str:
    """Make an arm's name from a model reference.

    >>> arm_name("models:/wine/3"), arm_name("modelA"), arm_name("s3://b/wine@x")
    ('wine-3', 'modelA', 'b-wine-x')
    >>> arm_name("s3://key:secret@bucket/wine")
    'bucket-wine'
    >>> arm_name("v2+http://host:8080/v2/models/wine#token=T"), arm_name("mlflow+http://host:5000")
    ('wine', 'host-5000')
    """
    if is_endpoint(ref):
        endpoint = parse_endpoint(ref)
        ref = endpoint.model or endpoint.base
    # A URI may carry credentials; they do not belong in headers, metrics and reports.
    text = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*:/+([^/@]*:[^/@]*@)?", "", ref)
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-._")[-_MAX_NAME:].strip("-._") or "model"


def unique_names(names: Sequence[str]) -> list[str]:
    """Number the names that come twice, so that each arm has its own.

    >>> unique_names(["wine", "wine", "b"])
    ['wine', 'wine-2', 'b']
    """
    seen: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in seen:
            number += 1
            suffix = f"-{number}"
            candidate = name[: _MAX_NAME - len(suffix)] + suffix
        seen.append(candidate)
    return seen


def models_digest(spec: DeploymentSpec) -> str:
    """Return what tells the models of a revision from those of another one of its number.

    It stays the same in later releases, whatever else a spec has then.
    """
    models = [[each.name, each.model.source, each.model.digest] for each in spec.arms]
    return hashlib.sha256(json.dumps(models).encode()).hexdigest()


def to_dict(spec: DeploymentSpec) -> dict[str, Any]:
    """Write a spec as plain JSON data."""
    return {"schema_version": SCHEMA_VERSION, **asdict(spec)}


def from_dict(document: Mapping[str, Any]) -> DeploymentSpec:
    """Read a spec that `to_dict` has written.

    Raises:
        InvalidInputError: The document is of another version or form.
    """
    if not isinstance(document, Mapping):
        raise InvalidInputError("A deployment spec is an object.")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InvalidInputError(
            f"This deployment spec has version {version}; this mlops reads {SCHEMA_VERSION}.",
            hint="pip install --upgrade mlops-loop",
        )
    try:
        arms = tuple(
            Arm(item["name"], ModelVersion(**item["model"]), float(item["weight"]))
            for item in document["arms"]
        )
        bounds = document.get("reward_range")
        # Specs from before shadows were supported lack them.
        shadows = tuple(
            Shadow(item["name"], ModelVersion(**item["model"]), float(item["share"]))
            for item in document.get("shadows", ())
        )
        return DeploymentSpec(
            name=document["name"],
            arms=arms,
            policy=document["policy"],
            sticky_by=document["sticky_by"],
            reward=document["reward"],
            reward_range=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            shadows=shadows,
            redraw=bool(document.get("redraw", False)),
            horizon=int(document.get("horizon", 0)),
            horizon_days=float(document.get("horizon_days", 0)),
            paired=bool(document.get("paired", False)),
            attribution=Attribution(**document.get("attribution", {})),
            analysis=analysis_from(document.get("analysis", {})),
            costs=tuple(
                (str(truth), str(prediction), float(cost))
                for truth, prediction, cost in document.get("costs", ())
            ),
            runtime=str(document.get("runtime", "auto")),
            isolate=document.get("isolate", "auto"),
            ramp=ramp_from(document.get("ramp")),
            decision_rule=str(document.get("decision_rule", "")),
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"This deployment spec is broken: {error!r}.") from error
