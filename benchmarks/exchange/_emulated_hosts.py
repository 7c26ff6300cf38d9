"""Emulated hosts: network namespaces joined by a hub in user space that holds every packet back for a while.

Each host has a TUN device; the token bucket of the kernel (``tbf``) keeps to the rate, the hub adds the delay (``netem`` would, but is not
in every kernel).  Packets are as large as the device takes, 60 KB, so that a hub in Python keeps up with a gigabit.  The namespaces have no
names: they belong to the process of the hub and are gone with it, also when it is killed.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import selectors
import shutil
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from _namespaces import enter_namespace, enter_new_namespace, run

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MTU = 60_000


def why_not() -> str | None:
    """Why hosts cannot be emulated here; None if they can."""
    if not Path("/dev/net/tun").exists():
        return "skipped: there is no /dev/net/tun (Linux only)"
    if os.geteuid() != 0:
        return "skipped: network namespaces need root"
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "skipped: the commands ip and tc are missing (iproute2)"
    return None


def address(host: int) -> str:
    """Where a host is reached from the others."""
    return f"10.77.0.{host + 1}"


@contextmanager
def emulated_hosts(num_hosts: int, delay_s: float, rate_mbit: int) -> Iterator[list[str]]:
    """Hosts one way ``delay_s`` apart; their namespaces, for :func:`enter`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    hub = context.Process(target=_hub, args=(theirs, num_hosts, delay_s, rate_mbit), daemon=True)
    hub.start()
    theirs.close()
    try:
        if not ours.poll(30):
            raise RuntimeError("the hub has not set its hosts up within 30 s")
        outcome = ours.recv()
        if isinstance(outcome, str):
            raise RuntimeError(f"the hosts cannot be set up: {outcome}")
        yield [f"/proc/{hub.pid}/fd/{descriptor}" for descriptor in outcome]
    finally:
        hub.kill()
        hub.join()


def enter(namespace: str, host: int) -> None:
    """Move the calling thread, and what it starts, onto a host."""
    enter_namespace(namespace)
    os.environ["GLOO_SOCKET_IFNAME"] = _device(host)


def _device(host: int) -> str:
    return f"host{host}"


def _hub(connection: Connection, num_hosts: int, delay_s: float, rate_mbit: int) -> None:
    try:
        hosts = [_make_host(host, rate_mbit) for host in range(num_hosts)]
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
        connection.send(f"{error} {getattr(error, 'stderr', '')}")
        return
    connection.send([namespace for namespace, _ in hosts])
    _forward([tun for _, tun in hosts], delay_s)


def _make_host(host: int, rate_mbit: int) -> tuple[int, int]:
    """Descriptors of a new namespace and of its TUN device."""
    enter_new_namespace()
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _device(host).encode(), _IFF_TUN | _IFF_NO_PI))
    device = _device(host)
    run("ip", "address", "add", f"{address(host)}/24", "dev", device)
    run("ip", "link", "set", device, "mtu", str(_MTU), "up")
    run("tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{rate_mbit}mbit", "burst", "128kb", "latency", "200ms")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY), tun


def _forward(tuns: list[int], delay_s: float) -> None:
    """Read packets, hold each for the delay, and write it to the host that it is for; all have the same delay, so a queue will do."""
    selector, held = selectors.DefaultSelector(), deque[tuple[float, int, bytes]]()
    for tun in tuns:
        selector.register(tun, selectors.EVENT_READ)
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        for key, _ in selector.select(wait):
            packet = os.read(key.fd, _MTU + 64)
            # Version 4, and the last byte of the destination is the number of the host plus one.
            if packet[0] >> 4 == 4 and 1 <= packet[19] <= len(tuns):
                held.append((time.monotonic() + delay_s, tuns[packet[19] - 1], packet))
        while held and held[0][0] <= time.monotonic():
            _, tun, packet = held.popleft()
            os.write(tun, packet)
