"""Memory: what is there, what is refused, and how its end is recognised."""

from __future__ import annotations

import os

import pytest
import torch

from unscatter.arrays import memory
from unscatter.errors import SettingsError


def test_available_memory_is_positive_and_no_more_than_the_machine_has() -> None:
    available = memory.available_memory()
    assert available is not None
    assert 0 < available <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_limit_of_a_job_counts_where_it_is_lower(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = f"{tmp_path}/max", f"{tmp_path}/current"
    monkeypatch.setattr(memory, "_CONTROL_GROUPS", ((limit, used),))
    for text, expected in (("5000000", 3_000_000), ("1000", 0)):
        with open(limit, "w") as first, open(used, "w") as second:
            first.write(text)
            second.write("2000000")
        assert memory.available_memory() == expected
    with open(limit, "w") as file:
        file.write("max")
    assert (memory.available_memory() or 0) > 3_000_000


def test_needs_are_refused_by_their_sum_and_the_largest_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 10 * 10**9)
    memory.check_memory({"weights": 6 * 10**9, "events": 4 * 10**9}, "the fit")
    with pytest.raises(
        SettingsError, match=r"the fit needs at least 11 GB of memory, but 10 GB are available.\nMost of it, 7 GB, is for weights"
    ):
        memory.check_memory({"weights": 7 * 10**9, "events": 4 * 10**9}, "the fit")
    monkeypatch.setattr(memory, "available_memory", lambda device: None)
    memory.check_memory({"weights": 10**20}, "the fit")


@pytest.mark.parametrize("size", [(10**15,), (10**12, 10**12)])
def test_what_torch_raises_is_recognised(size: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(size)
    assert memory.is_out_of_memory(caught.value)
    assert memory.is_out_of_memory(torch.OutOfMemoryError())
    assert not memory.is_out_of_memory(ValueError("can't allocate memory"))


def test_a_need_that_no_float_holds_is_refused_like_any_other() -> None:
    with pytest.raises(SettingsError, match=r"the fit needs at least 10{0,2},(000,)+000 GB of memory"):
        memory.check_memory({"events": 10**400}, "the fit")
