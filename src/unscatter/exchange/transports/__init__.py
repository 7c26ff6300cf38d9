"""Transports: how flat buffers get from one rank to another without anybody waiting."""

from unscatter.exchange.transports.buffers import payload_sum
from unscatter.exchange.transports.faulty import Fault, Faulty
from unscatter.exchange.transports.hybrid import HybridTransport
from unscatter.exchange.transports.joining import TransportKind, join_transport
from unscatter.exchange.transports.protocol import Header, Health, Message, Transport
from unscatter.exchange.transports.segment import remove_abandoned
from unscatter.exchange.transports.shared_memory import SharedMemoryTransport
from unscatter.exchange.transports.tcp import TcpTransport

__all__ = [
    "Fault",
    "Faulty",
    "Header",
    "Health",
    "HybridTransport",
    "Message",
    "SharedMemoryTransport",
    "TcpTransport",
    "Transport",
    "TransportKind",
    "join_transport",
    "payload_sum",
    "remove_abandoned",
]
