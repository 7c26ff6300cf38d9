"""Computes tables with hoppet, in a process of its own, and writes them to files."""

from __future__ import annotations

import dataclasses
import fcntl
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from unscatter.errors import MissingExtraError, TableError
from unscatter.files import is_directory, write_failure
from unscatter.theories.dis.settings import TableSettings
from unscatter.theories.dis.storage import save_tables
from unscatter.theories.dis.tables import DisTables

_WORKER = "unscatter.theories.dis.hoppet_worker"
_PIPE = subprocess.PIPE
#: Coupling at the starting scale beyond which a table would be meaningless; measured values run to 0.35 there.
_STRONGEST_COUPLING = 0.7

#: Called with the steps done and their total.
TableProgress = Callable[[int, int], None]


def build_file(settings: TableSettings, path: str | Path, *, replace: bool = False, progress: TableProgress | None = None) -> DisTables:
    """Compute a table and write it to a file.

    Args:
        settings: physics and grid.
        path: the new file.
        replace: write over a file that exists.
        progress: called with the steps done and their total.

    Raises:
        MissingExtraError: hoppet is not installed.
        TableError: the file exists or is a directory, another process is building it, it cannot be written, or hoppet failed.
    """
    path = Path(path)
    if is_directory(path):
        raise TableError(f"'{path}' is a directory, and a table is one file. Write for example {path / 'my_table.npz'}.")
    with _locked(path):
        if path.exists() and not replace:
            raise TableError(f"'{path}' exists already and is not written over. Choose another name, or allow it: --force")
        tables = build_tables(settings, progress)
        save_tables(tables, path)
    return tables


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time builds a file; the operating system drops the lock when the process ends, however it ends."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        file = lock.open("w")
    except OSError as error:
        raise TableError(write_failure(path, error)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TableError(f"another process is building '{path}' already. Wait until it is done, or choose another name.") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def build_tables(settings: TableSettings, progress: TableProgress | None = None) -> DisTables:
    """Compute the table for ``settings``; this takes some 3 s of one core at LO and 7 s at NNLO.

    hoppet has one global state, prints, and ends its process at an error; here it does so in a process of its own, so that builds do not
    disturb the caller or one another.

    Args:
        settings: physics and grid.
        progress: called with the steps done and their total.

    Raises:
        MissingExtraError: hoppet is not installed.
        TableError: hoppet failed; the message holds its last words.
    """
    if importlib.util.find_spec("hoppet") is None:
        raise MissingExtraError(
            "building theory tables needs hoppet, which is not installed. Install it: pip install 'unscatter[qcd]'\n"
            "The tables 'lo', 'nlo' and 'nnlo' are in the package and need nothing."
        )
    with tempfile.TemporaryDirectory(prefix="unscatter-tables-") as directory:
        path = Path(directory) / "kernels.npz"
        _run_worker(settings, path, Path(directory) / "log.txt", progress or (lambda done, total: None))
        with np.load(path, allow_pickle=False) as file:
            kernels = {name: file[name] for name in file.files}
    engine = str(kernels.pop("engine"))
    _check_kernels(kernels)
    return DisTables(settings, {name: torch.from_numpy(kernel) for name, kernel in kernels.items()}, engine)


def _run_worker(settings: TableSettings, path: Path, log: Path, progress: TableProgress) -> None:
    command = [sys.executable, "-m", _WORKER, str(path)]
    with log.open("w") as errors, subprocess.Popen(command, stdin=_PIPE, stdout=_PIPE, stderr=errors, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            # A process that has ended already says why in its log.
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(dataclasses.asdict(settings)))
                process.stdin.close()
            for line in process.stdout:
                done, _, total = line.partition("/")
                progress(int(done), int(total))
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    if code != 0 or not path.exists():
        words = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise TableError(f"hoppet ended with exit code {code} before the table was complete. Its last words:\n{words}")


def _check_kernels(kernels: dict[str, np.ndarray]) -> None:
    start = kernels["alpha_s/4"][0]
    if not 0 < start < _STRONGEST_COUPLING:
        raise TableError(
            f"the strong coupling would be {start:.3g} at the starting scale, but at most {_STRONGEST_COUPLING:g} makes sense.\n"
            "Raise 'Q0_GeV' or lower 'alpha_s_MZ'."
        )
    bad = [name for name, kernel in kernels.items() if not np.isfinite(kernel).all()]
    if bad:
        raise TableError(
            f"hoppet returned values that are not finite for {len(bad)} of {len(kernels)} kernels, such as '{bad[0]}'.\n"
            "Use settings nearer to those of the tables in the package: unscatter tables show nlo"
        )
