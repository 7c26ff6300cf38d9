"""Random numbers that depend on names and counters, not on what was drawn before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class RandomStream:
    """A tree of independent random streams, addressed by keys.

    The generator for ``(seed, "discriminator", step)`` is a pure function of these keys, so a resumed run draws what the uninterrupted
    run would have drawn, and no state of a random generator has to be stored.

    Example:
        >>> stream = RandomStream(7).child("rank", 0)
        >>> torch.equal(torch.rand(2, generator=stream.generator("noise", 3)), torch.rand(2, generator=stream.generator("noise", 3)))
        True
    """

    seed: int
    path: tuple[str | int, ...] = ()

    def child(self, *keys: str | int) -> RandomStream:
        """The stream below this one at ``keys``."""
        return RandomStream(self.seed, self.path + keys)

    def integer(self, *keys: str | int) -> int:
        """A 63-bit integer that belongs to ``keys``."""
        text = "/".join(map(repr, (self.seed, *self.path, *keys)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1

    def generator(self, *keys: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh torch generator that belongs to ``keys``."""
        return torch.Generator(device=device).manual_seed(self.integer(*keys))
