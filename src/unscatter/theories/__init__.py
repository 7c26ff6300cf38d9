"""Theories: differentiable maps from physics parameters to densities on a grid."""

from unscatter.theories.function import FunctionTheory
from unscatter.theories.protocol import Theory
from unscatter.theories.proxies import Proxy1D, Proxy2D

__all__ = ["FunctionTheory", "Proxy1D", "Proxy2D", "Theory"]
