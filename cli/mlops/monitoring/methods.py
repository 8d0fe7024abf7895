"""Names of the methods by which arms are compared, as reports print them."""

ASYMPTOTIC = (
    "anytime-valid asymptotic confidence sequence of the propensity-weighted difference"
    " (Waudby-Smith et al. 2021, arXiv:2103.06476)"
)
BOUNDED = (
    "anytime-valid confidence sequence of the propensity-weighted difference by betting, exact at"
    " every sample size (Waudby-Smith, Ramdas 2024, arXiv:2010.09686)"
)

PLANNED = (
    "alpha spending to a planned end (O'Brien-Fleming 1979, Lan-DeMets 1983, continuous looks) on"
    " the propensity-weighted difference"
)
