"""Judging a fit: statistical limits, what can be known at all, pulls, and whether synthetic events look measured."""

from unscatter.diagnostics.bounds import CramerRao, cramer_rao
from unscatter.diagnostics.chi2 import Chi2, chi2
from unscatter.diagnostics.comparison import ComparedBin, chi_square, compare_columns
from unscatter.diagnostics.curves import CurvePoint, curve_points, curve_sentences, determined_combinations, leading_directions
from unscatter.diagnostics.identifiability import Direction, describe_direction
from unscatter.diagnostics.measurements import Comparison, compare_measurement
from unscatter.diagnostics.pulls import RmsPull, pulls, rms_pull
from unscatter.diagnostics.settling import Settled, settled
from unscatter.diagnostics.slices import SlicedBin, compare_slices
from unscatter.diagnostics.two_sample import MIN_EVENTS, TwoSampleResult, area_under_curve, combined_p_value, two_sample_test

__all__ = [
    "MIN_EVENTS",
    "Chi2",
    "ComparedBin",
    "Comparison",
    "CramerRao",
    "CurvePoint",
    "Direction",
    "RmsPull",
    "Settled",
    "SlicedBin",
    "TwoSampleResult",
    "area_under_curve",
    "chi2",
    "chi_square",
    "combined_p_value",
    "compare_columns",
    "compare_measurement",
    "compare_slices",
    "cramer_rao",
    "curve_points",
    "curve_sentences",
    "describe_direction",
    "determined_combinations",
    "leading_directions",
    "pulls",
    "rms_pull",
    "settled",
    "two_sample_test",
]
