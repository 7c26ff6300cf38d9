"""Ready-made problems."""

from unscatter.problems.dis import dis
from unscatter.problems.dis_truth import with_grid_truth
from unscatter.problems.examples import example_file
from unscatter.problems.proxies import proxy1d, proxy2d

__all__ = ["dis", "example_file", "proxy1d", "proxy2d", "with_grid_truth"]
