"""Networks with the replica axis."""

from unscatter.networks.discriminator import Discriminator
from unscatter.networks.flat import FlatModule, Replicated
from unscatter.networks.generators import DirectGenerator, Generator, NetworkGenerator
from unscatter.networks.linear import ReplicaLinear, ReplicaMlp

__all__ = ["DirectGenerator", "Discriminator", "FlatModule", "Generator", "NetworkGenerator", "ReplicaLinear", "ReplicaMlp", "Replicated"]
