"""Which arm is better, and how sure are we while looking all the time.

Arrays in, frozen records out; nothing here reads a journal or prints. Import the modules:

    difference     candidate minus baseline, anytime-valid: the verdict
    bounded        the same with a declared reward range, exact at any sample size
    arm_mean       one arm's mean, or any stream's, anytime-valid
    paired         two models on the same rows
    sample_ratio   whether arms get their promised share: gates the verdict
    bayes          P(best) and expected loss: shown, never acted on alone
    remaining      how many observations until a decision
    profiles       what a table of training data looked like, for later comparison

Below them: `scores` (unbiased under any logged weights), `burn_in` (when to open), `boundary`
(the curve), `sequence` (the record they all return).

Why sequences and not tests: people watch. A test that is right once is wrong in 28 % of A/A
experiments watched 30 times, P(best) in 46 %. Why one family for everything: estimates in the
table, the verdict and the forecast must agree.
"""
