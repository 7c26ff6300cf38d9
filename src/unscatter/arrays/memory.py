"""How much memory there is, and how to tell that it ran out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from unscatter.errors import SettingsError

#: Of a batch job or container: (limit, used), in version 2 and version 1 of control groups.
_CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory(device: torch.device | str = "cpu") -> int | None:
    """Bytes that can still be had on a device; None where the system does not say.

    On a CPU that is what the kernel says is available, or what the limit of the job leaves, whichever is less.

    Example:
        >>> (available_memory() or 1) > 0
        True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [value for value in (_available_to_system(), *map(_left_in_group, _CONTROL_GROUPS)) if value is not None]
    return min(known, default=None)


def check_memory(needs: Mapping[str, int], what: str, device: torch.device | str = "cpu") -> None:
    """Refuse what surely does not fit, before a system without memory kills the process without a word.

    Args:
        needs: bytes that are needed at least, by what asks for them, in words and numbers.
        what: what needs them, as it should stand in the message.
        device: where.

    Raises:
        SettingsError: more bytes are needed than available; the message names both and what asks for most.

    Example:
        >>> check_memory({"10**18 bytes": 10**18}, "the simulation")
        Traceback (most recent call last):
        ...
        unscatter.errors.SettingsError: the simulation needs at least 1,000,000,000 GB of memory, but ... GB are available.
        Most of it, 1,000,000,000 GB, is for 10**18 bytes: lower one of these numbers.
    """
    needed, available = sum(needs.values()), available_memory(device)
    if available is None or needed <= available:
        return
    largest = max(needs, key=lambda name: needs[name])
    raise SettingsError(
        f"{what} needs at least {_gigabytes(needed)} of memory, but {_gigabytes(available)} are available.\n"
        f"Most of it, {_gigabytes(needs[largest])}, is for {largest}: lower one of these numbers."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or PyTorch ran out of memory; on a CPU PyTorch has no type of error for it.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    signs = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "numel: integer multiplication overflow")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def _gigabytes(num_bytes: int) -> str:
    # Whole numbers have no largest one, as floats have.
    return f"{num_bytes / 1e9:,.3g} GB" if num_bytes < 1e12 else f"{num_bytes // 10**9:,} GB"


def _available_to_system() -> int | None:
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass  # Not Linux.
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _left_in_group(files: tuple[str, str]) -> int | None:
    try:
        limit, used = (int(Path(file).read_text()) for file in files)
    except (OSError, ValueError):
        return None
    return max(0, limit - used)
