"""Exchanges between ranks: flat gradients before the step, flat weights after it."""

from unscatter.exchange.protocol import Exchange, NoExchange

__all__ = ["Exchange", "NoExchange"]
