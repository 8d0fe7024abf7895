"""What a policy or a model that was never live would have earned on logged decisions.

A journal has, for every decision, the arm and the probability with which it was drawn. That is
enough to weigh its reward for another policy (`policy_value`). A model that no arm is can be scored
where the reward follows from its answer and the truth; where rewards came only as numbers for the
answer that was given, only those count whose answer it would have given too (`model_value`).
"""

from mlops.evaluation.base import Evaluation, Gain, LoggedArm, Unsupported

__all__ = ["Evaluation", "Gain", "LoggedArm", "Unsupported"]
