"""Files behind a URL, from a server on this machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tests.events.formats.files import WRITERS, Writer, some_events
from unscatter.errors import EventsFileError, MissingExtraError, UnreachableError
from unscatter.events import locations, read_events
from unscatter.events.formats import open_events
from unscatter.events.locations import find_files, identity

EVENTS = some_events()


class Server(ThreadingHTTPServer):
    """Files of a folder, with byte ranges; remembers how many bytes it sent."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.sent, self.in_parts = folder, 0, True
        self.closing = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.server.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if path.is_dir():
            links = "".join(f'<a href="{name.name}">{name.name}</a>' for name in sorted(path.iterdir()))
            self._send(200, links.encode(), {"Content-Type": "text/html"}, body)
        elif path.parent.name == "answers":
            self._misbehave(path.stem, body)
        elif not path.is_file():
            self._send(404, b"", {}, body)
        else:
            self._send_file(path, body)

    def _misbehave(self, how: str, body: bool) -> None:
        match how:
            case "loop":
                self._send(302, b"", {"Location": self.path}, body)
            case "short":
                self._send(200, b"x,y\n1,2\n", {"Content-Length": "9000"}, body)
                self.close_connection = True
            case "silent":
                self.server.closing.wait()
                self.close_connection = True
            case _:
                self._send(int(how), b"", {}, body)

    def _send_file(self, path: Path, body: bool) -> None:
        content, facts = path.read_bytes(), {"ETag": f'"{path.stat().st_mtime_ns}"'}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if match is None or not self.server.in_parts:
            self._send(200, content, facts, body)
            return
        first = int(match[1]) if match[1] else len(content) - int(match[2])
        last = min(int(match[2]) if match[1] and match[2] else len(content) - 1, len(content) - 1)
        self._send(206, content[first : last + 1], facts | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, body)

    def _send(self, code: int, content: bytes, facts: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(content))} | facts).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.server.sent += len(content)
            with suppress(ConnectionError):
                self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_format_is_read_from_a_server_as_from_the_disk(tmp_path: Path, server: Server, write: Writer) -> None:
    path = write(tmp_path, EVENTS)
    events = read_events(server.url(path.name) + "?download=1", {"x": "x", "Q": "sqrt(Q2)"}, cuts=["n > 2"])
    local = read_events(path, {"x": "x", "Q": "sqrt(Q2)"}, cuts=["n > 2"])
    assert events.num_events > 100
    np.testing.assert_array_equal(events.values.numpy(), local.values.numpy())


def test_hepmc_is_read_from_a_server(tmp_path: Path, server: Server) -> None:
    from tests.events.formats.test_hepmc import electrons, event, write

    for name in ("e.hepmc", "e.hepmc.gz"):
        write(tmp_path / name, [event(0, electrons()[0], 1.0)])
        assert read_events(server.url(name), ["Q2"], weight="weight").column("Q2").tolist() == pytest.approx([4.0])


@pytest.mark.parametrize("kind", ["parquet", "h5", "root"])
def test_only_the_columns_that_are_read_travel(tmp_path: Path, server: Server, kind: str) -> None:
    columns = {f"c{i}": np.random.default_rng(i).random(200_000) for i in range(12)}
    path = tmp_path / f"wide.{kind}"
    match kind:
        case "parquet":
            pq.write_table(pa.table(columns), path, row_group_size=50_000)
        case "h5":
            with h5py.File(path, "w") as file:
                for name, column in columns.items():
                    file[name] = column
        case _:
            with uproot.recreate(path) as file:
                file.mktree("events", dict.fromkeys(columns, "f8")).extend(columns)
    read_events(server.url(path.name), ["c5"])
    assert server.sent < 0.25 * path.stat().st_size


def test_file_that_is_not_there_is_named(tmp_path: Path, server: Server) -> None:
    for write in WRITERS:
        url = server.url(write(tmp_path, EVENTS).name.replace(".", "_gone."))
        with pytest.raises(EventsFileError, match=rf"there is no '{url}'"):
            read_events(url)
        with pytest.raises(EventsFileError, match=rf"there is no '{url}'"):
            identity(url)


@pytest.mark.parametrize("name", ["parquet", "ttree", "rntuple"])
def test_server_that_sends_whole_files_only_is_told_from_a_damaged_file(tmp_path: Path, server: Server, name: str) -> None:
    path = next(writer for writer in WRITERS if writer.__name__ == name)(tmp_path, some_events(200_000))
    server.in_parts = False
    with pytest.raises(EventsFileError, match=r"its server sends whole files only, .* Download it first, for example: curl -O 'http"):
        read_events(server.url(path.name))
    server.in_parts = True
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(EventsFileError, match=r"is damaged, cut short or not a"):
        read_events(server.url(path.name))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("500", r"its server answers 500 \(Internal Server Error\)"),
        ("403", r"its server answers 403 \(Forbidden\)"),
        ("loop", "TooManyRedirects"),
        ("silent", "Timeout on reading .*; a server has 10 s to answer a call and 0.2 s to send something"),
    ],
)
def test_what_a_server_answers_is_told(server: Server, monkeypatch: pytest.MonkeyPatch, answer: str, message: str) -> None:
    monkeypatch.setattr(locations, "READ_S", 0.2)
    url = server.url(f"answers/{answer}.csv")
    for act in (identity, read_events):
        with pytest.raises(UnreachableError, match=rf"cannot read '{url}': {message}"):
            act(url)


def test_server_that_sends_fewer_bytes_than_it_promises_is_told_from_a_damaged_file(server: Server) -> None:
    with pytest.raises(UnreachableError, match=r"cannot read 'http.*short.csv': .*Not enough data to satisfy content length header"):
        read_events(server.url("answers/short.csv"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/events.parquet", "Cannot connect to host 127.0.0.1:9"),
        ("http://127.0.0.1:9/*.csv", "Cannot connect to host 127.0.0.1:9"),
        ("http://127.0.0.1:99999/a.csv", "Port out of range"),
    ],
)
def test_server_that_cannot_be_called_is_named(url: str, message: str) -> None:
    for act in (read_events, find_files if "*" in url else identity):
        with pytest.raises(UnreachableError, match=rf"cannot read '{re.escape(url)}': .*{message}"):
            act(url)


def test_pattern_of_a_url_is_expanded_in_natural_order(tmp_path: Path, server: Server) -> None:
    for number in (10, 9):
        (tmp_path / f"run{number}.csv").write_text(f"x\n{number}\n")
    assert find_files(server.url("run*.csv")) == [server.url("run9.csv"), server.url("run10.csv")]
    assert read_events(server.url("run*.csv")).values.tolist() == [[9], [10]]
    with pytest.raises(EventsFileError, match=r"nothing\*.csv' matches no file"):
        find_files(server.url("nothing*.csv"))


def test_identity_of_a_url_tells_a_changed_file(tmp_path: Path, server: Server) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    before = identity(server.url("a.csv"))
    assert before.size == 4
    assert identity(server.url("a.csv")) == before
    (tmp_path / "a.csv").write_text("x\n2\n")
    assert identity(server.url("a.csv")) != before


@pytest.mark.parametrize("name", ["fsspec.core", "aiohttp", "fsspec.implementations.http"])
def test_missing_driver_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import sys

    from fsspec.registry import _registry

    monkeypatch.delitem(_registry, "http", raising=False)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'unscatter\[remote\]'"):
        open_events("http://127.0.0.1:9/events.parquet")


def test_unknown_kind_of_url_is_named() -> None:
    for url in ("nowhere://a/events.parquet", "nowhere://a/*.parquet"):
        with pytest.raises(EventsFileError, match=rf"cannot read '{re.escape(url)}': Protocol not known: nowhere. URLs begin for example"):
            read_events(url)
    with pytest.raises(EventsFileError, match="Protocol not known"):
        identity("nowhere://a/events.parquet")
