"""Which arm is better, and how sure are we while looking all the time.

Arrays in, frozen records out; nothing here reads a journal or prints. Import the modules:

    difference     candidate minus baseline, anytime-valid, or with a planned end: the verdict
    bounded        the same with a declared reward range, exact at any sample size
    worth          better, worse, equal, not worse: what an interval says
    weakest        the smallest unseen loss that would turn a verdict
    paired         two models on the same rows, also where labels are selective
    arm_mean       one arm's mean, or any stream's, anytime-valid
    sample_ratio   whether arms get their declared share: gates the verdict
    missing        whether feedback is missing alike, and bounds for what is missing: likewise
    time_effect    whether the effect changes over time, and the rhythm of traffic: likewise
    guardrail      metrics that must not get worse
    adjusted       less noise from what was known before; ratios of sums
    segments       which of many segments differ: listed, never a verdict
    bayes          P(best) and expected loss: shown where calibrated, never acted on alone
    planning       sample size and power before a test
    remaining      how many observations until a decision, as a range
    profiles       what a table of training data looked like, for later comparison

Below them: `scores` (unbiased under any logged weights), `burn_in` (when to open), `boundary`
(the curve), `capital` and `horizon` (its exact and its planned kind), `sequence` (the record they
all return).

Why sequences and not tests: users peek. A test that is right once is wrong in 28 % of A/A
experiments watched 30 times, P(best) in 46 %. Why one family for everything: estimates in the
table, the verdict and the forecast must agree.
"""
