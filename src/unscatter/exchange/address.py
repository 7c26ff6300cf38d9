"""Under which address other ranks reach this one."""

from __future__ import annotations

import socket

from unscatter.exchange.world import World

#: Any port will do: a datagram socket sends nothing when it is connected.
_DISCARD = 9


def own_address(world: World) -> str:
    """The address of the interface over which this rank reaches the rendezvous: the others can reach it there.

    Example:
        >>> own_address(World())
        '127.0.0.1'
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((world.address, world.port or _DISCARD))
        return probe.getsockname()[0]
