"""Under which address other ranks reach this one."""

from __future__ import annotations

import ipaddress
import socket

from unscatter.errors import ExchangeError
from unscatter.exchange.world import World


def own_address(world: World) -> str:
    """The address of this machine that other nodes can reach: the one from which the rendezvous is reached.

    Example:
        >>> own_address(World())
        '127.0.0.1'
    """
    if world.address == "localhost" or _is_loopback(world.address):
        return "127.0.0.1"
    # Many machines give their own name a loopback address; packets to anywhere else, here an address of documentation, tell more.
    for place in (world.address, "192.0.2.1"):
        found = _source_towards(place)
        if found and not _is_loopback(found):
            return found
    raise ExchangeError(
        f"rank {world.rank} finds no address of this machine that other nodes could reach.\nName one: exchange.host in the runcard."
    )


def _source_towards(place: str) -> str | None:
    """The own address from which packets to a place would go; nothing is sent."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(place, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(where)
            return probe.getsockname()[0]
    except OSError:
        return None


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
