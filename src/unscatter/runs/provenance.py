"""Where a result comes from: versions, seeds, source, machine, command."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("unscatter", "torch", "numpy", "pyarrow", "safetensors")


def collect_provenance(seeds: Mapping[str, int], **extra: Any) -> dict[str, Any]:
    """Everything about this process that somebody needs who wants the same result again.

    Args:
        seeds: by name.
        extra: more facts, for instance ``ranks=4``.

    Example:
        >>> sorted(collect_provenance({"seed": 1}))[:4]
        ['command', 'cpu', 'devices', 'directory']
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "directory": os.getcwd(),
        "seeds": dict(seeds),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "git": {"working_directory": git_state(Path.cwd()), "unscatter": git_state(Path(__file__).parent)},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": {"model": _cpu_model(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        **extra,
    }


def git_state(directory: Path) -> dict[str, Any] | None:
    """Commit of the repository that a directory belongs to, and whether tracked files differ from it; None outside of git."""
    commit = _git(directory, "rev-parse", "HEAD")
    # An installed package may lie in an environment inside somebody else's repository, which does not track it.
    if commit is None or not _git(directory, "ls-files", "--", "."):
        return None
    return {"commit": commit, "dirty": bool(_git(directory, "status", "--porcelain", "--untracked-files=no"))}


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
