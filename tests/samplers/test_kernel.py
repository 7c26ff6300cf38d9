"""What the compiled kernel handles, and what it leaves to PyTorch."""

from __future__ import annotations

import pytest
import torch

from tests.samplers.densities import random_density
from unscatter.arrays import Density
from unscatter.errors import SettingsError
from unscatter.samplers import Rosenblatt, kernel, sample

needs_compiler = pytest.mark.skipif(not kernel.available(), reason="no C compiler")


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
