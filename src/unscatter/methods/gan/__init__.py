"""Generative adversarial fit."""

from unscatter.methods.gan.gan import Gan
from unscatter.methods.gan.settings import DiscriminatorSettings, GanSettings, GeneratorSettings

__all__ = ["DiscriminatorSettings", "Gan", "GanSettings", "GeneratorSettings"]
