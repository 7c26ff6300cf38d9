"""Ready-made problems."""

from unscatter.problems.proxies import proxy1d, proxy2d

__all__ = ["proxy1d", "proxy2d"]
