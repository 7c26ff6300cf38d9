"""Tables made on the spot with hoppet, and what can go wrong with it."""

from __future__ import annotations

import dataclasses
import fcntl
import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.theories.dis.densities import les_houches_densities
from tests.theories.dis.les_houches import VALUES, X
from unscatter.errors import MissingExtraError, TableError
from unscatter.pdfs.flavours import PDG_IDS
from unscatter.theories.dis import building
from unscatter.theories.dis.building import build_file, build_tables
from unscatter.theories.dis.settings import TableSettings
from unscatter.theories.dis.storage import load_tables

needs_hoppet = pytest.mark.skipif(importlib.util.find_spec("hoppet") is None, reason="needs hoppet: pip install 'unscatter[qcd]'")

# The benchmark begins at the charm mass without charm; the tables begin just above it.  The coupling is 0.35 at the starting scale.
START_GeV = math.sqrt(2)
VARIABLE: dict[str, Any] = {"Q0_GeV": START_GeV, "charm_mass_GeV": START_GeV * (1 - 1e-9), "bottom_mass_GeV": 4.5}
#: Four flavours up to 100 GeV: the bottom is put out of the way, and the coupling is given above it.
FOUR_FLAVOURS = VARIABLE | {"bottom_mass_GeV": 120.0, "MZ_GeV": 150.0, "Q_max_GeV": 1000.0, "num_Q_nodes": (14, 6)}
BENCHMARKS = {
    "LO": TableSettings(order="LO", alpha_s_MZ=0.12401282727586473, **VARIABLE),
    "NLO": TableSettings(order="NLO", alpha_s_MZ=0.11764004305368081, **VARIABLE),
    "NNLO": TableSettings(order="NNLO", alpha_s_MZ=0.10399395298269375, **FOUR_FLAVOURS),
}
SMALL = TableSettings(order="LO", alpha_s_MZ=0.130, x_min=1e-3, num_x_nodes=14, num_Q_nodes=(5, 6))


@needs_hoppet
@pytest.mark.parametrize("order", BENCHMARKS)
def test_evolution_reproduces_the_les_houches_benchmark_within_1e_4(order: str) -> None:
    tables = build_tables(BENCHMARKS[order])
    torch.testing.assert_close(tables.alpha_s(torch.tensor([START_GeV])).item(), 0.35, rtol=2e-6, atol=0)
    operator = tables.evolution(torch.tensor(X, dtype=torch.float64), torch.tensor([100.0]))
    values = torch.einsum("pxfn,fn->px", operator[0], les_houches_densities(tables.x_nodes))
    parton = dict(zip(PDG_IDS, values, strict=True))
    combinations = {
        "u_v": parton[2] - parton[-2],
        "d_v": parton[1] - parton[-1],
        "L_m": parton[-1] - parton[-2],
        "L_p": 2 * (parton[-1] + parton[-2]),
        "s_v": parton[3] - parton[-3],
        "s_p": parton[3] + parton[-3],
        "c_p": parton[4] + parton[-4],
        "b_p": parton[5] + parton[-5],
        "g": parton[21],
    }
    for name, published in VALUES[order].items():
        wanted = torch.tensor(published, dtype=torch.float64)
        # Five digits are published: half a unit of the last one is allowed on top.
        rounding = 0.5 * 10 ** (wanted.abs().log10().floor() - 4)
        excess = ((combinations[name] - wanted).abs() - rounding).clamp(min=0) / wanted.abs()
        assert excess.max() < 1e-4, f"{name} is off by {excess.tolist()} at x = {X}"


@needs_hoppet
def test_the_shipped_table_can_be_built_again() -> None:
    shipped = load_tables("lo")
    again = build_tables(shipped.settings)
    assert again.kernels.keys() == shipped.kernels.keys()
    for name, kernel in shipped.kernels.items():
        torch.testing.assert_close(again.kernels[name], kernel, rtol=1e-5, atol=1e-6)


@needs_hoppet
def test_progress_is_told_and_the_banner_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    steps: list[tuple[int, int]] = []
    tables = build_file(SMALL, tmp_path / "small.npz", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 28) for done in range(1, 29)]
    assert capfd.readouterr() == ("", "")
    assert load_tables(tmp_path / "small.npz").settings == SMALL == tables.settings
    assert [path.name for path in tmp_path.iterdir()] == ["small.npz"]


@needs_hoppet
def test_a_file_is_written_over_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    path.write_text("precious")
    with pytest.raises(TableError, match="is not written over.*--force"):
        build_file(SMALL, path)
    assert path.read_text() == "precious"
    build_file(SMALL, path, replace=True)
    assert load_tables(path).settings == SMALL


def test_the_same_file_is_not_built_twice_at_once(tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    with (tmp_path / ".small.npz.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TableError, match="another process is building"):
            build_file(SMALL, path)


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="mkdir -p"):
        build_file(SMALL, tmp_path / "none" / "small.npz")


def test_without_hoppet_the_message_holds_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'unscatter\[qcd\]'"):
        build_tables(SMALL)


@needs_hoppet
def test_a_coupling_beyond_perturbation_theory_is_refused() -> None:
    with pytest.raises(TableError, match="(?s)strong coupling would be .*Raise 'Q0_GeV'"):
        build_tables(dataclasses.replace(SMALL, alpha_s_MZ=0.2))


@needs_hoppet
def test_the_last_words_of_a_failed_process_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_WORKER", "unscatter.no_such_module")
    with pytest.raises(TableError, match="(?s)exit code 1 .*No module named"):
        build_tables(SMALL)
