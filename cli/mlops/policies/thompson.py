"""Thompson sampling: each arm as often as it is probably the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlops.errors import InvalidInputError
from mlops.policies.base import Credit, State
from mlops.policies.learning import Learning, spread
from mlops.policies.tally import Memory, Tally


class Thompson(Learning):
    """Draws each arm with the probability that its mean is the highest, under the posterior.

    Thompson (Biometrika 25, 1933); Agrawal and Goyal (AISTATS 2013, arXiv 1209.3353) for its
    regret. The probability is integrated, not sampled (`mlops.policies.best_arm`). Rewards that are
    all 0 or 1 have Beta posteriors under a uniform prior; others normal-inverse-gamma ones, so the
    mean of an arm has a Student-t posterior. Their prior is worth one reward, has the mean and the
    variance of all rewards so far (unit information: Kass and Wasserman, JASA 90, 1995), and its
    variance one observation's weight. `discount` below 1 is the policy of Raj and Kalyani, arXiv
    1707.09727.

    Args:
        weights: See `Learning`.
        rewards: `binary`, `real`, or `auto` for what they have all been. As binary, one in between
            counts for as much of a success, and one beyond 0 or 1 as that.
        options: See `Learning`.
    """

    name = "thompson"

    def __init__(
        self,
        weights: Sequence[float],
        *,
        rewards: str = "auto",
        **options: Any,  # noqa: ANN401 - see `Learning`
    ) -> None:
        super().__init__(weights, **options)
        if rewards not in ("auto", "binary", "real"):
            raise InvalidInputError(f"`rewards` is `auto`, `binary` or `real`, not `{rewards}`.")
        self._rewards = rewards

    @property
    def memory(self) -> str:
        """See `mlops.policies.base.Carries`."""
        return super().memory + (" cut" if self._rewards == "binary" else "")

    def update(self, state: State, earned: Sequence[Credit], /) -> State:
        """See `Policy.update`."""
        if self._rewards == "binary":
            # One client that sends another reward must not stop learning from the rest.
            earned = [replace(each, reward=min(max(each.reward, 0.0), 1.0)) for each in earned]
        return super().update(state, earned)

    def shares(self, tallies: Sequence[Tally], memory: Memory) -> Sequence[float]:
        """See `Learning.shares`."""
        # SciPy takes a while to import, and only who folds the journal computes this.
        from mlops.policies.best_arm import best_beta, best_student

        if self._rewards == "binary" or (memory.binary and self._rewards == "auto"):
            won = [tally.total for tally in tallies]
            lost = [tally.n - tally.total for tally in tallies]
            found = best_beta([1 + s for s in won], [1 + max(f, 0.0) for f in lost])
            return [float(share) for share in found]
        posteriors = _posteriors(tallies)
        if posteriors is None:
            return [1 / len(tallies)] * len(tallies)
        return [float(share) for share in best_student(*posteriors)]


def _posteriors(tallies: Sequence[Tally]) -> tuple[list[float], list[float], list[float]] | None:
    """Return degrees of freedom, centres and scales; None where rewards do not vary at all.

    Murphy, "Conjugate Bayesian analysis of the Gaussian distribution" (2007), section 6: prior mean
    m, kappa = 1, alpha = 1/2, beta = variance / 2.
    """
    n = sum(tally.n for tally in tallies)
    pooled = sum(tally.total for tally in tallies) / n
    between = sum(tally.n * (tally.mean - pooled) ** 2 for tally in tallies) / n
    variance = spread(tallies) ** 2 + between
    if variance <= 1e-18 * max(pooled**2, 1e-300):
        return None
    dof, centres, scales = [], [], []
    for tally in tallies:
        kappa = 1 + tally.n
        alpha = (1 + tally.n) / 2
        shift = tally.n / kappa * (tally.mean - pooled) ** 2
        beta = (variance + tally.scatter + shift) / 2
        dof.append(2 * alpha)
        centres.append((pooled + tally.total) / kappa)
        scales.append((beta / (alpha * kappa)) ** 0.5)
    return dof, centres, scales
