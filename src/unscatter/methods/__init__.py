"""Methods: ways to get from events to parameters, behind one protocol."""

from unscatter.methods.gan import Gan, GanSettings
from unscatter.methods.protocol import Estimate, Method, Metrics

__all__ = ["Estimate", "Gan", "GanSettings", "Method", "Metrics"]
