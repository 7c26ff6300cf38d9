"""Exchanges between ranks: flat gradients before the step, flat weights after it."""

from unscatter.exchange.build import join_exchange
from unscatter.exchange.protocol import Exchange, NoExchange
from unscatter.exchange.settings import ExchangeSettings
from unscatter.exchange.world import World

__all__ = ["Exchange", "ExchangeSettings", "NoExchange", "World", "join_exchange"]
