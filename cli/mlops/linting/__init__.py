"""What is wrong with a manifest before any cluster sees it.

Kubernetes silently prunes fields it does not know, CRDs of model servers leave enums out, and
controllers ignore what they cannot do. So every document is checked twice: against the fields its
kind has (`structure`), and against rules of the platforms (`rules`), one function each, named in
the table `RULES`. The same checks guard what `mlops deploy` renders.

Pure: text in, findings out.
"""

from mlops.linting.base import Context, Finding, Rule, Severity
from mlops.linting.lint import RULES, lint, lint_text

__all__ = ["RULES", "Context", "Finding", "Rule", "Severity", "lint", "lint_text"]
