"""Network namespaces of Linux without names: they end with the last process or descriptor that holds them, whatever happens."""

from __future__ import annotations

import ctypes
import os
import subprocess

_CLONE_NEWNET = 0x40000000


def enter_new_namespace() -> None:
    """Move the calling thread, and what it starts from now on, into a fresh network with nothing but a loopback device.

    Raises:
        OSError: this process may not.
    """
    _checked(_libc().unshare(_CLONE_NEWNET), "unshare")
    run("ip", "link", "set", "lo", "up")


def enter_namespace(path: str) -> None:
    """Move the calling thread into the namespace of ``/proc/<pid>/fd/<number>``.

    Raises:
        OSError: this process may not, or the namespace is gone.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _checked(_libc().setns(descriptor, _CLONE_NEWNET), "setns")
    finally:
        os.close(descriptor)


def run(*command: str) -> None:
    """Run a command of iproute2 in the namespace of the calling thread."""
    subprocess.run(command, check=True, capture_output=True, text=True)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int, call: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
