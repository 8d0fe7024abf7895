"""Why a model answers what it does: the share of each feature, as Shapley values.

Symbols: f the explained output, x a row of k features, z the rows of the background. A share phi_j
says by how much feature j moves f(x) away from the base E f(z); base + sum phi_j = f(x), which is
checked for every answer.

Exact where that is cheap (linear models, trees, XGBoost, LightGBM), else by permutations, with the
standard error of their Monte Carlo. Shapley values of XGBoost and LightGBM are the libraries' own,
whose base is that of their training data (Lundberg et al. 2020, path-dependent); all others are
interventional: features that are not in a coalition are taken from rows of the background.
"""

from mlops.explaining.background import newest_requests, too_few
from mlops.explaining.base import Explanation, NotExactError, Rows, check_additive
from mlops.explaining.choosing import Explainable, are_comparable, explain, explain_all
from mlops.explaining.importance import Importance, importance

__all__ = [
    "Explainable",
    "Explanation",
    "Importance",
    "NotExactError",
    "Rows",
    "are_comparable",
    "check_additive",
    "explain",
    "explain_all",
    "importance",
    "newest_requests",
    "too_few",
]
