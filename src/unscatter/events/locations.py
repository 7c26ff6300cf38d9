"""Where files of events lie: on a disk, or behind a URL."""

from __future__ import annotations

import errno
import glob
import os
import re
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from unscatter.errors import EventsFileError, MissingExtraError, UnreachableError, UnscatterError, first_line
from unscatter.files import is_directory, is_file, missing_path, quoted

#: Endings of the files that can be read.
SUFFIXES = (
    ".parquet", ".csv", ".npy", ".npz", ".arrow", ".feather", ".h5", ".hdf5", ".root", ".hepmc", ".hepmc3", ".hepmc.gz", ".hepmc3.gz",
)  # fmt: skip

#: Bytes of a remote file that are fetched at a time.
AHEAD_BYTES = 1 << 18

#: Seconds within which a web server must be connected to, and within which it must send something, however little.
CONNECT_S, READ_S = 10.0, 60.0

#: What the disk itself answers, or the server of a network disk.
_DISK_FAILURES = (errno.EIO, errno.ESTALE)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_remote(location: str | Path) -> bool:
    """Whether a location is a URL, ``https://...`` or ``s3://...``, rather than a path.

    Example:
        >>> is_remote("https://example.org/events.root"), is_remote("data/events.root")
        (True, False)
    """
    return _URL.match(str(location)) is not None


def _is_web(location: str) -> bool:
    return location.lower().startswith(("http://", "https://"))


def suffix(location: str | Path) -> str:
    """The ending of a file's name in lower case; of a URL without its query, of a compressed file with the one before.

    Example:
        >>> suffix("https://example.org/events.ROOT?download=1"), suffix("run.1.hepmc.gz")
        ('.root', '.hepmc.gz')
    """
    name = PurePosixPath((urlsplit(str(location)).path if is_remote(location) else str(location)).lower())
    return "".join(name.suffixes[-2:]) if name.suffix == ".gz" else name.suffix


def open_binary(location: str, *, ahead: int | None = AHEAD_BYTES) -> Any:
    """A file for reading bytes, with ``seek``; of a remote one only what is read travels.

    Args:
        location: a path or a URL.
        ahead: bytes that are fetched of a remote file at a time, since many small requests are slow; None for just what is read.

    Raises:
        MissingExtraError: the location is a URL and fsspec, or its driver, is not installed.
    """
    if not is_remote(location):
        return open(location, "rb")
    filesystem, path = remote(location)
    how = {"cache_type": "none"} if ahead is None else {"cache_type": "blockcache", "block_size": ahead}
    return filesystem.open(path, "rb", **how)


def sends_whole_files(location: str) -> bool:
    """Whether a URL belongs to a web server that does not offer parts of a file; False where nothing is known."""
    if not _is_web(location):
        return False
    try:
        request = urllib.request.Request(location, headers={"Range": "bytes=0-0"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status != HTTPStatus.PARTIAL_CONTENT
    except (OSError, ValueError):
        return False


def arrow_input(location: str, *, ahead: int | None = AHEAD_BYTES) -> Any:
    """What pyarrow's readers are given: the path, which they read by themselves, or an opened remote file."""
    return open_binary(location, ahead=ahead) if is_remote(location) else os.fspath(location)


def remote(location: str) -> tuple[Any, str]:
    """The file system of fsspec behind a URL, and the path there.

    Raises:
        MissingExtraError: fsspec, or the driver for this kind of URL, is not installed.
        EventsFileError: there is no such kind of URL.
    """
    try:
        import fsspec.core

        return fsspec.core.url_to_fs(location, **_driver_options(location))
    except ValueError as error:
        raise EventsFileError(f"cannot read '{location}': {first_line(error)}. URLs begin for example with https:// or s3://.") from error
    except ImportError as error:
        raise MissingExtraError(
            f"reading '{location}' needs a package that is not installed: {error}.\n"
            "Install it: pip install 'unscatter[remote]' for http and https; other kinds of URL have drivers of their own, s3fs for s3."
        ) from error


def _driver_options(location: str) -> dict[str, Any]:
    """Limits of time for web servers; fsspec has one for a request in all, which is wrong for large files and long for dead servers."""
    if not _is_web(location):
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)}}


@contextmanager
def reached(location: str) -> Iterator[None]:
    """Turn what disks, servers and networks refuse into one message; other errors pass.

    Raises:
        UnreachableError: the file is not there, may not be read, or its server does not deliver it.
    """
    try:
        yield
    except UnscatterError:
        raise
    except (OSError, *_network_errors()) as error:
        # To fsspec whatever a driver says is a file that is not there; the driver's words are the cause.
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error
        if (message := _refusal(location, cause)) is None:
            raise
        raise UnreachableError(message) from error


def _refusal(location: str, error: BaseException) -> str | None:
    """What is said about an error of a disk, a server or a network; None where the file itself may be wrong."""
    if isinstance(error, FileNotFoundError) or getattr(error, "status", None) == HTTPStatus.NOT_FOUND:
        return f"there is no '{location}': {first_line(error)}."
    if isinstance(error, PermissionError):
        return f"cannot read '{location}': permission denied." + ("" if is_remote(location) else f" Allow it: chmod u+r {quoted(location)}")
    of_network = not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError, *_network_errors()))
    if (is_remote(location) and of_network) or (isinstance(error, OSError) and error.errno in _DISK_FAILURES):
        return f"cannot read '{location}': {_answer(error)}."
    return None


def _answer(error: BaseException) -> str:
    """What a server or a disk says, in words."""
    if status := getattr(error, "status", None):
        return f"its server answers {status} ({getattr(error, 'message', '')})"
    if isinstance(error, TimeoutError):
        return f"{first_line(error)}; a server has {CONNECT_S:g} s to answer a call and {READ_S:g} s to send something"
    return f"{type(error).__name__}: {first_line(error)}"


def _network_errors() -> tuple[type[Exception], ...]:
    """Errors of the driver for web servers, some of which are no OSError; where it was not loaded it has raised none."""
    aiohttp = sys.modules.get("aiohttp")
    return () if aiohttp is None else (aiohttp.ClientError,)


class Identity(NamedTuple):
    """What tells whether a file is still the one that it was."""

    size: int | None
    """Bytes; None where a server does not say."""
    version: str
    """Time of the last change, or the ETag of a server; empty where neither is known."""


def identity(location: str | Path) -> Identity:
    """Size and time of the last change of a file, or the ETag that its server gives it.

    Raises:
        UnreachableError: it is not there, or its server does not say.
    """
    with reached(str(location)):
        if not is_remote(location):
            status = os.stat(location)
            return Identity(status.st_size, str(status.st_mtime_ns))
        filesystem, path = remote(str(location))
        facts = filesystem.info(path)
    versions = (facts.get(key) for key in ("ETag", "etag", "LastModified", "Last-Modified", "updated", "mtime"))
    return Identity(facts.get("size"), str(next((version for version in versions if version), "")))


def file_key(location: str) -> str | tuple[int, int]:
    """What all names of a file have in common: a link is the file that it leads to."""
    if is_remote(location):
        return location
    status = os.stat(location)
    return status.st_dev, status.st_ino


def find_files(sources: str | Path | Sequence[str | Path]) -> list[str]:
    """The files that paths, patterns, directories and URLs stand for.

    Args:
        sources: one or several of them.  A pattern is expanded (``*``, ``?``, ``[...]``, ``**`` for any directories); a directory stands
            for all files of events below it whose names do not begin with a dot or an underscore.  What one of them yields is in natural
            order, ``run2`` before ``run10``.

    Raises:
        EventsFileError: a pattern or directory yields nothing, a file is not there, or one is named twice.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for number in (1, 2, 10):
        ...     _ = (folder / f"run{number}.csv").write_text("x")
        >>> [Path(file).name for file in find_files(folder / "run*.csv")]
        ['run1.csv', 'run2.csv', 'run10.csv']
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    found: dict[str | tuple[int, int], tuple[str, str]] = {}
    for source in map(str, listed):
        for file in _expand(source):
            key = file_key(file)
            if key in found:
                raise EventsFileError(f"'{file}' is named twice, by {_both(found[key][1], source)}: its events would count double.")
            found[key] = (file, source)
    if not found:
        raise EventsFileError("no file of events is named.")
    return [file for file, _ in found.values()]


def _both(first: str, second: str) -> str:
    return f"'{first}' and again" if first == second else f"'{first}' and by '{second}'"


def _expand(source: str) -> Iterator[str]:
    if is_remote(source):
        files = _expand_remote(source)
    elif is_directory(source):
        files = _below(source)
    elif os.path.exists(source) or not glob.has_magic(source):
        if not os.path.exists(source):
            raise EventsFileError(missing_path(Path(source)))
        files = [source]
    else:
        files = [file for file in glob.glob(os.path.expanduser(source), recursive=True) if is_file(file)]
    if not files:
        raise EventsFileError(f"'{source}' matches no file (searched from '{Path.cwd()}').")
    return iter(sorted(files, key=natural))


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers inside names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _below(directory: str) -> list[str]:
    files = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(directory)
        for name in names
        if suffix(name) in SUFFIXES and not name.startswith((".", "_"))
    ]
    if not files:
        raise EventsFileError(f"'{directory}' is a directory, not a file of events. It holds no file that ends in {one_of(SUFFIXES)}.")
    kinds = sorted({suffix(file) for file in files})
    if len(kinds) > 1:
        names = sorted(map(os.path.basename, files))[:5]
        raise EventsFileError(
            f"'{directory}' is a directory that holds files of several kinds, {', '.join(kinds)}: {names}.\n"
            f"Name one of them, or those of one kind: '{os.path.join(directory, '*' + kinds[0])}'."
        )
    return files


def _expand_remote(source: str) -> list[str]:
    # A question mark begins the query of a URL.
    if "*" not in source:
        return [source]
    filesystem, path = remote(source)
    with reached(source):
        return [filesystem.unstrip_protocol(file) for file in filesystem.glob(path)]


def one_of(names: Sequence[str]) -> str:
    """Names in words."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
