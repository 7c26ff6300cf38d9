"""Judging a fit: statistical limits, what can be known at all, pulls, and whether synthetic events look measured."""

from unscatter.diagnostics.bounds import CramerRao, cramer_rao
from unscatter.diagnostics.comparison import ComparedBin, chi_square, compare_columns
from unscatter.diagnostics.identifiability import Direction, describe_direction
from unscatter.diagnostics.pulls import RmsPull, pulls, rms_pull
from unscatter.diagnostics.settling import Settled, settled
from unscatter.diagnostics.two_sample import MIN_EVENTS, TwoSampleResult, area_under_curve, combined_p_value, two_sample_test

__all__ = [
    "MIN_EVENTS",
    "ComparedBin",
    "CramerRao",
    "Direction",
    "RmsPull",
    "Settled",
    "TwoSampleResult",
    "area_under_curve",
    "chi_square",
    "combined_p_value",
    "compare_columns",
    "cramer_rao",
    "describe_direction",
    "pulls",
    "rms_pull",
    "settled",
    "two_sample_test",
]
