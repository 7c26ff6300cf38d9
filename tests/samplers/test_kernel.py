"""Building the compiled kernel: cache, missing or broken compilers, what it does not handle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.samplers.densities import random_density
from unscatter.arrays import Density
from unscatter.errors import SettingsError
from unscatter.samplers import Rosenblatt, kernel, sample

FAST_BUILD = ("-O0", "-shared", "-fPIC")
needs_compiler = pytest.mark.skipif(not kernel.available(), reason="no C compiler")


@needs_compiler
def test_kernel_is_built_once_and_then_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = kernel._compiler()
    assert compiler is not None
    library = kernel._build(compiler, FAST_BUILD)
    assert library.parent == tmp_path / "unscatter"
    written = library.stat().st_mtime_ns
    assert kernel._build(compiler, FAST_BUILD) == library
    assert library.stat().st_mtime_ns == written
    assert [path.name for path in library.parent.iterdir()] == [library.name]


@needs_compiler
def test_a_cache_that_cannot_be_written_is_replaced_by_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compiler = kernel._compiler()
    assert compiler is not None
    assert kernel._build(compiler, FAST_BUILD).parent.parent == tmp_path


def test_without_a_compiler_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert kernel._load.__wrapped__(torch.float32) == (None, "neither CC nor cc, gcc or clang was found")


def test_a_compiler_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'fatal error: no such processor' >&2\nexit 1\n")
    fake.chmod(0o700)
    monkeypatch.setenv("CC", str(fake))
    with pytest.warns(RuntimeWarning, match="did not build kernel.c: fatal error: no such processor"):
        library, reason = kernel._load.__wrapped__(torch.float32)
    assert library is None
    assert "no such processor" in reason


def test_compile_is_refused_without_a_compiler_and_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_load", lambda dtype: (None, "neither CC nor cc, gcc or clang was found"))
    with pytest.raises(SettingsError, match=r"compile=True needs a C compiler, and neither CC nor cc, gcc or clang was found"):
        Rosenblatt(compile=True)
    assert sample(random_density(0, (4, 3)), 10).num_events == 10


@needs_compiler
def test_more_dimensions_than_the_kernel_knows_run_as_pytorch_operations() -> None:
    density = random_density(0, (2,) * 7)
    assert sample(density, 10).values.shape == (1, 10, 7)
    with pytest.raises(SettingsError, match="at most 6 dimensions, got 7 on 'cpu'"):
        sample(density, 10, sampler=Rosenblatt(compile=True))


@needs_compiler
def test_six_dimensions_agree_with_pytorch_operations() -> None:
    density = random_density(1, (2, 3, 2, 3, 2, 3))
    uniforms = torch.rand(1, 300, 6, dtype=torch.float64)

    def events(values: torch.Tensor, compile: bool) -> torch.Tensor:
        return Rosenblatt(compile=compile)(Density(values, density.grid, density.channels), uniforms).values

    torch.testing.assert_close(events(density.values, True), events(density.values, False), rtol=1e-11, atol=1e-11)
    gradients = [torch.func.grad(lambda v, c=c: events(v, c).square().mean())(density.values) for c in (True, False)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-9)
