"""Transports: how flat buffers get from one rank to another without anybody waiting."""

from unscatter.exchange.transports.checks import payload_sum
from unscatter.exchange.transports.protocol import Header, Health, Message, Transport
from unscatter.exchange.transports.segment import remove_abandoned
from unscatter.exchange.transports.shared_memory import SharedMemoryTransport
from unscatter.exchange.transports.tcp import TcpTransport

__all__ = ["Header", "Health", "Message", "SharedMemoryTransport", "TcpTransport", "Transport", "payload_sum", "remove_abandoned"]
