"""What an interval says when differences below some size are not worth having.

Symbols:
    lower, upper   bounds of the candidate's mean minus the baseline's
    worth          the smallest difference worth acting on, in units of reward, positive

All conclusions come from one interval that holds at every look with probability 1 - alpha, so they
cost nothing and may be drawn at any look, together: "better", "worse", "equal" (inside the margins,
two one-sided tests as in Schuirmann 1987, at every look) and "not worse". An interval can show that
a candidate is better and yet not worth it; "better" is said first.

That all candidates are worse than the baseline is an intersection-union test (Berger, Technometrics
24, 1982): the claim is false only if some candidate is no worse, and then that one's own interval
errs with probability at most alpha. So `keep` needs no Bonferroni, unlike "some candidate is
better".
"""

from typing import Literal

Conclusion = Literal["better", "worse", "equal", "not worse", "open"]


def conclude(lower: float, upper: float, worth: float | None = None) -> Conclusion:
    """Say what an interval of the difference shows.

    Args:
        lower: Lower bound; -inf while unknown.
        upper: Upper bound; inf while unknown.
        worth: The smallest difference worth having; None for none declared.

    Returns:
        The strongest conclusion the interval supports.

    Raises:
        ValueError: If `worth` is not positive.

    >>> conclude(-0.004, 0.006, worth=0.01)
    'equal'
    >>> conclude(-0.004, 0.02, worth=0.01)
    'not worse'
    """
    if worth is not None and not worth > 0:
        raise ValueError(f"worth must be positive, got {worth}")
    if lower > 0:
        return "better"
    if upper < 0:
        return "worse"
    if worth is None or lower <= -worth:
        return "open"
    return "equal" if upper < worth else "not worse"
