"""Exchanges between ranks: flat gradients before the step, flat weights after it."""

from unscatter.exchange.protocol import Exchange, NoExchange
from unscatter.exchange.world import World

__all__ = ["Exchange", "NoExchange", "World"]
