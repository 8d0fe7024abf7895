"""A policy on logged decisions.

Fixed weights are evaluated on every decision. A policy that learns would have met other decisions
than those logged, and have learnt from them: it is followed through the log by rejection sampling
(Dudik, Erhan, Langford, Li, UAI 2012, arXiv 1210.4862). With its probabilities pi, and p those that
were logged, a decision joins what it learns from with probability c pi(A) / p(A), where
c = min over arms of p / pi is the largest share that makes this a probability for any arm. So the
arms of what it learns from are drawn by pi; every decision counts with importance c, whether it
joins or not, and the sum of c is the number of requests that the policy went through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from mlops.errors import InvalidInputError, UsageError
from mlops.evaluation.base import (
    Evaluation,
    Gain,
    Kind,
    LoggedArm,
    Unsupported,
    refusal,
)
from mlops.journal.features import KeptRows
from mlops.monitoring.evidence import Evidence
from mlops.policies.base import Contextual, Credit, Policy, State
from mlops.policies.drawing import VECTORS, ContextDraws, draws_of
from mlops.policies.making import make_policy
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.request_id import NONCE_BYTES
from mlops.stats import off_policy
from mlops.stats.off_policy import Floats, Replayed, RunningMeans

#: Probabilities of what is evaluated at some decisions, (m, k), and their importance, (m,); given
#: their positions and the probabilities by which their arms were drawn, (m, k). Called in order.
View: TypeAlias = Callable[[slice, Floats], tuple[Floats, Floats]]
#: Reads the rows of requests that were kept, by the identities of their decisions.
RowsOf: TypeAlias = Callable[[Iterable[bytes]], Mapping[bytes, KeptRows]]
_AT_ONCE = 1 << 16
#: A policy learns after so many rewards, later after one per cent more.
_LEARN_AFTER, _LEARN_PART, _LEARN_MOST = 20, 0.01, 500
_SEED = 20120814
_NO_RANGE = (
    "The reward has no declared range, so no interval is exact, and none covers a rare reward that "
    "no decision has met."
)


@dataclass(frozen=True, slots=True)
class Followed:
    """A policy followed through n decisions of k arms.

    Attributes:
        seen: The decisions, as the policy sees them.
        served: Guess of what was earned, (n,).
    """

    seen: Replayed
    served: Floats

    @property
    def shares(self) -> Floats:
        """Mean probability of each arm, by importance, (k,)."""
        return np.asarray(self.seen.drawn / max(float(self.seen.importance.sum()), 1e-300))


def read_weights(text: str, spec: DeploymentSpec) -> tuple[float, ...] | None:
    """Read fixed weights, `a=0.2,b=0.8`; None where the text is a policy.

    An arm that is not named gets nothing.

    Raises:
        UsageError: They do not sum to 1, or are not weights.
        InvalidInputError: There is no arm of a name.
    """
    words = [word.strip() for word in text.split(",")]
    if " " in text.strip().replace(", ", ",") or not all("=" in word for word in words):
        return None
    found = [0.0] * len(spec.arms)
    for word in words:
        name, _, value = word.partition("=")
        at = spec.index_of(name.strip())
        try:
            found[at] += float(value)
        except ValueError:
            raise UsageError(f"`{value}` in `{text}` is not a weight.") from None
    if min(found) < 0 or not math.isclose(sum(found), 1, abs_tol=1e-6):
        raise UsageError(
            f"The weights in `{text}` sum to {sum(found):g}, not to 1.",
            hint="Write each arm's share, as in `--policy a=0.2,b=0.8`.",
        )
    return tuple(found)


def evaluate_policy(
    evidence: Evidence, text: str, rows_of: RowsOf, *, alpha: float, min_effective: float
) -> Evaluation:
    """Estimate what a policy would have earned.

    Args:
        evidence: Of the logged experiment.
        text: Fixed weights as `a=0.2,b=0.8`, or a policy as in `mlops deploy --policy`.
        rows_of: Reads the rows of requests, for a policy that looks at them.
        alpha: Probability that an interval misses.
        min_effective: Effective sample size below which nothing is estimated.

    Raises:
        InvalidInputError: There is no such policy or arm, one arm only, or a reward per unit that
            is a ratio.
        UsageError: The weights do not sum to 1.
    """
    spec = evidence.spec
    if evidence.sums is not None:
        raise InvalidInputError(
            f"`{spec.name}` compares ratios (`--per {spec.analysis.per}`), which no policy has."
        )
    if len(spec.arms) < 2:
        raise InvalidInputError(f"`{spec.name}` has one arm, which every policy draws.")
    weights = read_weights(text, spec)
    policy = make_policy(text, [arm.weight for arm in spec.arms]) if weights is None else None
    if policy is not None and not policy.learns:
        weights, policy = tuple(policy.probabilities({}, State(0, ()))), None
    view: View = fixed(weights or ())
    unknown = 0
    if policy is not None:
        view = learner = _learner(policy, evidence, rows_of)
        unknown = learner.unknown
    followed = follow(evidence, view)
    kind: Kind = "learning" if policy else "weights"
    wanted = weights or tuple(1.0 for _ in spec.arms)
    return judged(
        evidence,
        followed,
        subject=text,
        kind=kind,
        alpha=alpha,
        min_effective=min_effective,
        unsupported=(
            *_unsupported(evidence, wanted),
            *([Unsupported("its features were not kept", unknown)] if unknown else ()),
        ),
        notes=tuple(_notes(kind, followed)),
    )


def judged(
    evidence: Evidence,
    followed: Followed,
    *,
    subject: str,
    kind: Kind,
    alpha: float,
    min_effective: float,
    unsupported: tuple[Unsupported, ...],
    notes: tuple[str, ...],
) -> Evaluation:
    """Estimate from weighed decisions, or refuse to.

    Args:
        evidence: The decisions.
        followed: The same as what is evaluated sees them.
        subject: What is evaluated, as it was written.
        kind: What that is.
        alpha: Probability that an interval misses.
        min_effective: Effective sample size below which nothing is estimated.
        unsupported: Decisions that were left out.
        notes: What a reader must know.
    """
    seen, spec = followed.seen, evidence.spec
    found = off_policy.weights_of(seen)
    refused, hint = refusal(found.effective, min_effective, found)
    if evidence.bounds is None and not refused:
        notes += (_NO_RANGE,)
    gained = Gain("served", tuple(off_policy.gains(seen, followed.served, alpha)))
    return Evaluation(
        name=spec.name,
        subject=subject,
        kind=kind,
        reward=spec.reward,
        revisions=evidence.revisions,
        decisions=seen.rewards.size,
        used=int((seen.importance > 0).sum()),
        alpha=alpha,
        min_effective=min_effective,
        effective=found.effective,
        served=off_policy.ratio(seen.importance * seen.rewards, seen.importance, "mean", alpha),
        estimates=() if refused else tuple(_estimates(seen, evidence, alpha)),
        gains=() if refused else (gained,),
        weights=found,
        arms=logged_arms(evidence, followed.shares),
        unsupported=unsupported,
        refused=refused,
        hint=hint,
        notes=(*evidence.notes, *notes),
    )


def _estimates(seen: Replayed, evidence: Evidence, alpha: float) -> list[off_policy.Estimate]:
    found = [*off_policy.estimate(seen, alpha), off_policy.at_every_look(seen, alpha)]
    if evidence.bounds is not None:
        found.append(off_policy.dr_bounded(seen, evidence.bounds, alpha))
    return found


def follow(evidence: Evidence, view: View) -> Followed:
    """Look at logged decisions as something else would, in the order of the journal.

    Args:
        evidence: The decisions.
        view: What it would have done.
    """
    n, k = evidence.rewards.size, len(evidence.spec.arms)
    w, guesses, expected, importance, largest, served = (np.empty(n) for _ in range(6))
    sums = np.zeros(k)
    means = RunningMeans(k)
    for start in range(0, n, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, n))
        arms, rows = evidence.arms[part], np.arange(part.stop - start)
        logged = evidence.weights[evidence.strata[part]]
        wanted, c = view(part, logged)
        known = means.take(arms, evidence.rewards[part])
        if evidence.bounds is not None:
            known = np.clip(known, *evidence.bounds)
        # Where an arm that is wanted had no chance, c is 0.
        most = (wanted / np.where(logged > 0, logged, np.inf)).max(axis=1)
        w[part] = wanted[rows, arms] / evidence.propensities[part]
        guesses[part], expected[part] = known[rows, arms], (wanted * known).sum(axis=1)
        served[part] = (logged * known).sum(axis=1)
        importance[part], largest[part] = c, c * most
        sums += c @ wanted
    seen = Replayed(
        evidence.arms, evidence.rewards, w, guesses, expected, importance, largest, sums
    )
    return Followed(seen, served)


def fixed(weights: Sequence[float]) -> View:
    """Return the view of fixed weights; where one had no chance, a decision says nothing."""
    wanted = np.asarray(weights, dtype=np.float64)

    def view(_: slice, logged: Floats) -> tuple[Floats, Floats]:
        lost = ((wanted > 0) & (logged <= 0)).any(axis=1)
        return np.broadcast_to(wanted, logged.shape), np.where(lost, 0.0, 1.0)

    return view


def _learner(policy: Policy, evidence: Evidence, rows_of: RowsOf) -> Learner:
    """Return the view of a policy, with the features of each decision if it looks at them."""
    if not isinstance(policy, Contextual):
        return Learner(policy, evidence)
    if not policy.features:
        raise InvalidInputError(
            "The policy looks at features of the request, and none is named.",
            hint="For example `--policy 'linear-greedy features=alcohol,pH'`.",
        )
    # NumPy leaves zeros at the end out.
    keys = [nonce.ljust(NONCE_BYTES, b"\0") for nonce in evidence.nonces.tolist()]
    contexts: list[Mapping[str, Any] | None] = []
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        kept = rows_of(some)
        for key in some:
            row = kept[key].row(0) if key in kept else None
            if isinstance(row, dict):
                contexts.append({name: row.get(name) for name in policy.features})
            else:
                contexts.append(None)
    return ContextLearner(policy, evidence, contexts)


class Learner:
    """The view of a policy that learns from the decisions that it could have made itself.

    Args:
        policy: It.
        evidence: The decisions.

    Attributes:
        unknown: Decisions that say nothing of it, as what it looks at is not known.
    """

    unknown = 0

    def __init__(self, policy: Policy, evidence: Evidence) -> None:
        self._policy, self._evidence = policy, evidence
        self._state = State(0, ())
        self._shares = np.asarray(policy.probabilities({}, self._state), dtype=np.float64)
        self._waiting: list[Credit] = []
        self._rng = np.random.default_rng(_SEED)
        self._joined = 0

    def __call__(self, part: slice, logged: Floats) -> tuple[Floats, Floats]:
        """See `View`."""
        arms, rewards, p = (
            each[part]
            for each in (self._evidence.arms, self._evidence.rewards, self._evidence.propensities)
        )
        wanted, importance = np.empty_like(logged), np.empty(arms.size)
        draws = self._rng.random(arms.size)
        start = 0
        while start < arms.size:
            missing = self._enough() - len(self._waiting)
            some = slice(start, min(arms.size, start + max(4 * missing, 256)))
            shares, known = self.shares(part.start + some.start, part.start + some.stop)
            ratios = np.full_like(logged[some], np.inf)
            np.divide(logged[some], shares, out=ratios, where=shares > 0)
            c = np.where(known, ratios.min(axis=1), 0.0)
            own = shares[np.arange(c.size), arms[some]]
            joins = np.flatnonzero(draws[some] < c * own / p[some])[:missing]
            stop = start + int(joins[-1]) + 1 if joins.size == missing else some.stop
            wanted[start:stop], importance[start:stop] = shares[: stop - start], c[: stop - start]
            self._waiting += [
                # Arms of what joins are distributed as the policy draws them.
                Credit(
                    int(arms[start + at]), float(own[at]), float(rewards[start + at]),
                    self.context(part.start + start + int(at)),
                )
                for at in joins
            ]  # fmt: skip
            start = stop
            if joins.size == missing:
                self._learn()
        return wanted, importance

    def shares(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return its probabilities at decisions, (m, k), and 0 where it has none, (m,)."""
        n = stop - start
        return np.broadcast_to(self._shares, (n, self._shares.size)), np.ones(n)

    def context(self, at: int) -> Mapping[str, Any]:
        """Return what it sees of a decision."""
        return {}

    def _enough(self) -> int:
        return max(_LEARN_AFTER, min(int(_LEARN_PART * self._joined), _LEARN_MOST))

    def _learn(self) -> None:
        self._state = self._policy.update(self._state, self._waiting)
        self._joined += len(self._waiting)
        self._waiting = []
        self._shares = np.asarray(self._policy.probabilities({}, self._state), dtype=np.float64)


class ContextLearner(Learner):
    """The view of a policy that looks at the request.

    Args:
        policy: It.
        evidence: The decisions.
        contexts: Features of each, of the first row of its request; None where not kept.
    """

    def __init__(
        self,
        policy: Policy,
        evidence: Evidence,
        contexts: Sequence[Mapping[str, Any] | None],
    ) -> None:
        super().__init__(policy, evidence)
        self._contexts = contexts
        self.unknown = sum(context is None for context in contexts)

    def shares(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """See `Learner.shares`."""
        shares, known = super().shares(start, stop)
        some = self._contexts[start:stop]
        draws = draws_of(self._policy, self._numbered)
        if isinstance(draws, ContextDraws):
            shares = np.array([draws.of(context or {}).probabilities for context in some])
        return shares, known * [context is not None for context in some]

    def context(self, at: int) -> Mapping[str, Any]:
        """See `Learner.context`."""
        return self._contexts[at] or {}

    @property
    def _numbered(self) -> State:
        return replace(self._state, parameters={**self._state.parameters, VECTORS: 0})


def logged_arms(evidence: Evidence, shares: Floats | None) -> tuple[LoggedArm, ...]:
    """Describe the arms of the log.

    Args:
        evidence: The decisions.
        shares: Mean probability with which what is evaluated draws each; None for a model.
    """
    drawn = np.bincount(evidence.strata, minlength=len(evidence.weights))
    logged = drawn @ evidence.weights / max(drawn.sum(), 1)
    found = []
    for at, arm in enumerate(evidence.spec.arms):
        own = evidence.rewards[evidence.arms == at]
        mean = float(own.mean()) if own.size else None
        share = None if shares is None else float(shares[at])
        found.append(LoggedArm(arm.name, own.size, float(logged[at]), share, mean))
    return tuple(found)


def _unsupported(evidence: Evidence, wanted: Sequence[float]) -> Iterator[Unsupported]:
    """Count, by arm, decisions at which it was wanted and could not be drawn."""
    counts = np.bincount(evidence.strata, minlength=len(evidence.weights))
    for at, arm in enumerate(evidence.spec.arms):
        none = int(counts[evidence.weights[:, at] <= 0].sum())
        if wanted[at] > 0 and none:
            yield Unsupported(f"`{arm.name}` got no traffic", none)


def _notes(kind: Kind, followed: Followed) -> Iterator[str]:
    if kind == "learning":
        went = float(followed.seen.importance.sum())
        yield (
            f"The policy was followed through {went:,.0f} requests that it could have drawn "
            "itself, from no knowledge, with rewards in the order of the journal and without delay."
        )
