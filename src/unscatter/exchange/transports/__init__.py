"""Transports: how flat buffers get from one rank to another without anybody waiting."""

from unscatter.exchange.transports.protocol import Header, Health, Message, Transport

__all__ = ["Header", "Health", "Message", "Transport"]
