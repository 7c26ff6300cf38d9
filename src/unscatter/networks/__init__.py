"""Networks with the replica axis, and the optimiser that steps their flat weights."""

from unscatter.networks.adam import AdamState, adam_init, adam_step
from unscatter.networks.discriminator import Discriminator
from unscatter.networks.flat import FlatModule, Replicated
from unscatter.networks.generators import DirectGenerator, Generator, NetworkGenerator
from unscatter.networks.linear import ReplicaLinear, ReplicaMlp

__all__ = [
    "AdamState",
    "DirectGenerator",
    "Discriminator",
    "FlatModule",
    "Generator",
    "NetworkGenerator",
    "ReplicaLinear",
    "ReplicaMlp",
    "Replicated",
    "adam_init",
    "adam_step",
]
