"""The laws of the one-sided ring, among ranks started by mpiexec."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exchange.collectives.workers import BAD, STEPS, gradient
from tests.exchange.mpi.launch import everything, needs_mpi, run_mpi_ranks
from tests.exchange.mpi.workers import WORLDS
from unscatter.errors import MissingExtraError
from unscatter.exchange.mpi import Rma
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World


def runs(num_ranks: int) -> list[dict[str, Any]]:
    return [run[f"rma {num_ranks}"] for run in everything()[:num_ranks]]


@needs_mpi
@pytest.mark.parametrize("num_ranks", WORLDS)
def test_mean_equals_the_float64_average_and_has_the_same_bits_on_all_ranks(num_ranks: int) -> None:
    first = runs(num_ranks)[0]["trace"]
    for run in runs(num_ranks):
        for step in range(STEPS):
            rows = np.stack([gradient(step, rank).double().numpy() for rank in range(num_ranks)])
            rows[~np.isfinite(rows).all(-1)] = np.nan
            np.testing.assert_allclose(run["trace"].combined[step], np.nanmean(rows, 0), atol=3e-5)
            assert run["trace"].weights[step].tobytes() == first.weights[step].tobytes()
        assert run["trace"].statistics["skipped_contributions"] == int(num_ranks > BAD[1])


@needs_mpi
@pytest.mark.parametrize("num_ranks", WORLDS)
def test_all_ranks_stop_after_the_same_step_and_buffers_may_change_their_length(num_ranks: int) -> None:
    for run in runs(num_ranks):
        assert run["stops"] == [False, True]
        np.testing.assert_allclose(run["other length"], np.full((1, 5), (num_ranks - 1) / 2))


@needs_mpi
def test_killed_rank_is_named_on_every_survivor(tmp_path: Path) -> None:
    # Otherwise mpiexec would end the survivors before they can say anything.
    options = ("-disable-auto-cleanup",)
    outcomes = run_mpi_ranks(tmp_path, 3, "tests.exchange.mpi.workers:rma_killed", "1", options=options, timeout_s=30.0)
    for rank in (0, 2):
        assert f"rank {rank} of 3 has heard nothing from rank 1 for " in str(outcomes[rank].value)


def test_missing_mpi_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'unscatter\[mpi\]'"):
        Rma(Rendezvous.join(World()))
