"""C beside Python: built by the machine's C compiler at first use, kept in the user's cache directory.

Sources need no headers but those of C, so that any compiler will do and the build takes a second.  Processes that build at the same time
each write a file of their own and rename it: the last one wins, all are the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

_FLAGS = ("-O2", "-ftree-vectorize", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")


def load(source: Path, *options: str, without: str) -> tuple[ctypes.CDLL | None, str]:
    """Build a C file and load it.

    Args:
        source: the file.
        options: for the compiler, besides those that make it fast.
        without: what happens where it cannot be built, as a sentence for the warning.

    Returns:
        The library and an empty text, or None and the reason.

    Warns:
        RuntimeWarning: there is a compiler, but it fails; a machine without one is nothing to warn of.

    Example:
        >>> source = Path(tempfile.mkdtemp()) / "answer.c"
        >>> _ = source.write_text("int answer(void) { return 42; }")
        >>> library, reason = load(source, without="Nobody answers.")
        >>> 42 if library is None else library.answer()
        42
    """
    compiler = find_compiler()
    if compiler is None:
        return None, "neither CC nor cc, gcc or clang was found"
    try:
        return ctypes.CDLL(str(build(source, compiler, (*_FLAGS, *options)))), ""
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"'{shlex.join(compiler)}' did not build {source.name}: {_first_line(error)}"
        warnings.warn(f"{reason}\n{without}", RuntimeWarning, stacklevel=3)
        return None, reason


def _first_line(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    return next((line for line in text.splitlines() if "error" in line.lower()), text).strip()


def find_compiler() -> list[str] | None:
    """The command in ``CC``, or the first of the usual ones that is there."""
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return None


def build(source: Path, compiler: list[str], flags: tuple[str, ...]) -> Path:
    """Compile unless the same source was compiled by the same compiler for the same processor before.

    Raises:
        OSError: there is no directory to write to, or the compiler cannot be started.
        subprocess.SubprocessError: the compiler fails.
    """
    macros = _call([*compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([source.read_text(), macros, *flags]).encode()).hexdigest()[:20]
    for directory in _directories():
        library = directory / f"{source.stem}-{key}.so"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if directory.stat().st_uid != os.getuid():  # code that somebody else may have put there is not loaded
                continue
            if library.exists():
                return library
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                fresh = Path(scratch) / library.name
                _call([*compiler, "-march=native", *flags, str(source), "-o", str(fresh), "-lm"])
                fresh.replace(library)
        except OSError:  # a home directory that cannot be written
            continue
        return library
    raise OSError("no directory to write it to; set XDG_CACHE_HOME")


def _directories() -> list[Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(cache) / "unscatter", Path(tempfile.gettempdir()) / f"unscatter-{os.getuid()}"]


def _call(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
