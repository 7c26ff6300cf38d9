"""Building C beside Python: cache, missing or broken compilers."""

from __future__ import annotations

from pathlib import Path

import pytest

from unscatter.arrays import compiled

FAST_BUILD = ("-O0", "-shared", "-fPIC")
needs_compiler = pytest.mark.skipif(compiled.find_compiler() is None, reason="no C compiler")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "answer.c"
    path.write_text("int answer(void) { return 42; }")
    return path


def build(source: Path) -> Path:
    compiler = compiled.find_compiler()
    assert compiler is not None
    return compiled.build(source, compiler, FAST_BUILD)


@needs_compiler
def test_a_source_is_built_once_and_then_taken_from_the_cache(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library = build(source)
    assert library.parent == tmp_path / "unscatter"
    written = library.stat().st_mtime_ns
    assert build(source) == library
    assert library.stat().st_mtime_ns == written
    assert [path.name for path in library.parent.iterdir()] == [library.name]


@needs_compiler
def test_a_source_that_has_changed_is_built_anew(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = build(source)
    source.write_text("int answer(void) { return 43; }")
    assert build(source) != before


@needs_compiler
def test_a_cache_that_cannot_be_written_is_replaced_by_the_temporary_directory(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert build(source).parent.parent == tmp_path


def test_without_a_compiler_the_reason_is_given(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert compiled.load(source, without="Nobody answers.") == (None, "neither CC nor cc, gcc or clang was found")


def test_a_compiler_that_fails_is_a_warning_that_says_what_happens_instead(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'fatal error: no such processor' >&2\nexit 1\n")
    fake.chmod(0o700)
    monkeypatch.setenv("CC", str(fake))
    with pytest.warns(RuntimeWarning, match=r"did not build answer.c: fatal error: no such processor\nNobody answers."):
        library, reason = compiled.load(source, without="Nobody answers.")
    assert library is None
    assert "no such processor" in reason
