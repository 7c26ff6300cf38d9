"""The tables in the package against values of other programs and against laws of physics."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.theories.dis.densities import smooth_densities
from unscatter.errors import SettingsError, TableError
from unscatter.pdfs.flavours import FIT_FLAVOURS, PDG_IDS
from unscatter.theories.dis.operators import STRUCTURE_FUNCTIONS
from unscatter.theories.dis.storage import SHIPPED, load_tables
from unscatter.theories.dis.tables import DisTables

tables_of = cache(load_tables)


def stored(program: str, table: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / f"{program}_values.json").read_text())["tables"][table]


def on_mass_shell(tables: DisTables) -> DisTables:
    """hoppet takes the mixing angle from the masses of W and Z."""
    settings = tables.settings
    return dataclasses.replace(tables, settings=dataclasses.replace(settings, sin2_theta_W=1 - (settings.MW_GeV / settings.MZ_GeV) ** 2))


def predict(tables: DisTables, name: str, x: Tensor, Q2: Tensor, target: str = "proton") -> Tensor:
    return torch.einsum("pfn,fn->p", tables.structure_function(name, x, Q2, target), smooth_densities(tables.x_nodes))


def evolve(tables: DisTables, x: Tensor, Q_GeV: Tensor, *, below_threshold: bool = False) -> Tensor:
    operator = tables.evolution(x, Q_GeV, below_threshold=below_threshold)
    return torch.einsum("spxfn,fn->spx", operator, smooth_densities(tables.x_nodes))


def mesh(Q: list[float], x: list[float]) -> tuple[Tensor, Tensor]:
    """Every x for every Q; x runs fastest."""
    scales, points = torch.meshgrid(torch.tensor(Q, dtype=torch.float64), torch.tensor(x, dtype=torch.float64), indexing="ij")
    return points.flatten(), scales.flatten()


@pytest.mark.parametrize("table", SHIPPED)
def test_evolution_agrees_with_direct_evaluation_within_1_5e_4(table: str) -> None:
    values, tables = stored("hoppet", table), tables_of(table)
    x, Q = torch.tensor(values["x"], dtype=torch.float64), torch.tensor(values["Q_GeV"], dtype=torch.float64)
    wanted = torch.tensor(values["xf"], dtype=torch.float64).unflatten(0, (len(Q), len(x))).transpose(1, 2)
    torch.testing.assert_close(evolve(tables, x, Q), wanted, rtol=1.5e-4, atol=1e-12)
    torch.testing.assert_close(tables.alpha_s(Q), torch.tensor(values["alpha_s"], dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("table", SHIPPED)
def test_structure_functions_agree_with_direct_evaluation_within_1_5e_4(table: str) -> None:
    values, tables = stored("hoppet", table), on_mass_shell(tables_of(table))
    x, Q2 = mesh(values["Q2_GeV2"], values["x"])
    for name, wanted in values["structure_functions"].items():
        wanted = torch.tensor(wanted, dtype=torch.float64)
        # xF3 of the W has zeros; there the size of F2 sets the scale.
        atol = 1e-6 * wanted.abs().max().item() if name.startswith("xF3") else 0.0
        torch.testing.assert_close(predict(tables, name, x, Q2), wanted, rtol=1.5e-4, atol=atol, msg=name)


@pytest.mark.parametrize(("table", "name"), [(table, name) for table in ("nlo", "nnlo") for name in stored("yadism", table)])
def test_structure_functions_agree_with_yadism(table: str, name: str) -> None:
    x, Q2, wanted = torch.tensor(stored("yadism", table)[name], dtype=torch.float64).T
    torch.testing.assert_close(predict(tables_of(table), name, x, Q2), wanted, rtol=1e-3 if name.startswith("FL") else 5e-4, atol=0)


@pytest.mark.parametrize("table", SHIPPED)
def test_nothing_happens_at_the_starting_scale(table: str) -> None:
    tables = tables_of(table)
    values = evolve(tables, tables.x_nodes, torch.tensor([tables.settings.Q0_GeV]))[0]
    start = dict(zip(FIT_FLAVOURS, smooth_densities(tables.x_nodes), strict=True))
    numbers = {21: "g", 1: "d", 2: "u", 3: "s", -1: "dbar", -2: "ubar", -3: "sbar"}
    for number, value in zip(PDG_IDS, values, strict=True):
        named = numbers.get(number)
        wanted = torch.zeros_like(value) if named is None else start[named]
        wanted = start["c+"] / 2 if abs(number) == 4 else wanted
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-8)


def test_at_leading_order_F2_is_the_sum_of_squared_charges() -> None:
    tables = tables_of("lo")
    x, Q = torch.logspace(-4, -0.2, 9, dtype=torch.float64), torch.tensor([2.0, 4.9, 5.0, 90.0], dtype=torch.float64)
    charges = torch.tensor([0.0 if number == 21 else (4 if number % 2 == 0 else 1) / 9 for number in PDG_IDS], dtype=torch.float64)
    partons = torch.einsum("p,spx->sx", charges, evolve(tables, x, Q))
    F2 = predict(tables, "F2_em", *reversed_mesh(Q, x))
    torch.testing.assert_close(F2, partons.flatten(), rtol=1e-12, atol=0)


def reversed_mesh(Q: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    points, scales = mesh(Q.tolist(), x.tolist())
    return points, scales**2


def test_FL_vanishes_at_leading_order() -> None:
    assert (tables_of("lo").structure_function("FL_em", torch.tensor([0.01]), torch.tensor([10.0])) == 0).all()


def integrate(densities: Tensor, x: Tensor, weights: Tensor, power: int) -> Tensor:
    """Integral of x^power times the momentum density; below the table it goes on as a power of x."""
    low, near = densities[..., 0], densities[..., 1]
    slope = (near / low).log() / (x[1] / x[0]).log()
    return (densities * x ** (power + 1)) @ weights + low * x[0] ** (power + 1) / (slope + power + 1)


@pytest.mark.parametrize("table", SHIPPED)
def test_evolution_conserves_momentum_and_the_numbers_of_valence_quarks(table: str) -> None:
    tables = tables_of(table)
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(120))
    # Gauss's rule in ln(x / (1 - x)), with the lowest points of the table in front for its continuation.
    low, high = math.log(2e-5), 9.0
    logit = low + (nodes + 1) / 2 * (high - low)
    x, weights = torch.sigmoid(logit), weights / 2 * (high - low) * (1 - torch.sigmoid(logit))
    edge = torch.tensor([2e-5, 3e-5], dtype=torch.float64)
    x, weights = torch.cat([edge, x]), torch.cat([torch.zeros(2, dtype=torch.float64), weights])
    partons = evolve(tables, x, torch.tensor([1.65, 4.0, 20.0]))
    u_valence, d_valence = (partons[:, PDG_IDS.index(number)] - partons[:, PDG_IDS.index(-number)] for number in (2, 1))
    for conserved in (integrate(partons.sum(1), x, weights, 0), integrate(u_valence, x, weights, -1), integrate(d_valence, x, weights, -1)):
        torch.testing.assert_close(conserved, conserved[:1].expand(3), rtol=5e-4, atol=0)


def test_bottom_sets_in_at_its_mass() -> None:
    x = torch.tensor([1e-3, 0.1], dtype=torch.float64)
    bottom = PDG_IDS.index(5)
    for table in SHIPPED:
        tables = tables_of(table)
        mass = torch.tensor([tables.settings.bottom_mass_GeV], dtype=torch.float64)
        below, above = evolve(tables, x, mass, below_threshold=True), evolve(tables, x, mass)
        assert (below[:, bottom] == 0).all()
        assert (evolve(tables, x, mass * 1.2)[:, bottom] > 0).all()
        if table == "nnlo":
            # Matching at two loops for a pole mass, Chetyrkin, Kniehl and Steinhauser, hep-ph/9706430, eq. (13).
            assert (above[:, bottom] != 0).all()
            coupling, lower = tables.alpha_s(mass), tables.alpha_s(mass * (1 - 1e-9))
            torch.testing.assert_close(lower / coupling, 1 - 7 / 24 * (coupling / math.pi) ** 2, rtol=1e-4, atol=0)
        else:
            torch.testing.assert_close(below, above, rtol=1e-5, atol=1e-7)


def test_strange_asymmetry_arises_at_nnlo_only() -> None:
    x, Q = torch.tensor([0.05], dtype=torch.float64), torch.tensor([100.0], dtype=torch.float64)
    for table in SHIPPED:
        tables = tables_of(table)
        densities = smooth_densities(tables.x_nodes)
        densities[FIT_FLAVOURS.index("sbar")] = densities[FIT_FLAVOURS.index("s")]
        values = torch.einsum("spxfn,fn->spx", tables.evolution(x, Q), densities)
        difference = (values[0, PDG_IDS.index(3)] - values[0, PDG_IDS.index(-3)]).abs().item()
        assert (difference > 1e-5) == (table == "nnlo")


@pytest.mark.parametrize("name", STRUCTURE_FUNCTIONS)
def test_isospin_symmetric_densities_make_proton_and_neutron_alike(name: str) -> None:
    tables = tables_of("nlo")
    densities = smooth_densities(tables.x_nodes)
    for pair in (("u", "d"), ("ubar", "dbar")):
        indices = [FIT_FLAVOURS.index(flavour) for flavour in pair]
        densities[indices] = densities[indices].mean(0)
    x, Q2 = torch.tensor([0.01, 0.3]), torch.tensor([10.0, 1000.0])
    proton, neutron, deuteron = (
        torch.einsum("pfn,fn->p", tables.structure_function(name, x, Q2, target), densities) for target in ("proton", "neutron", "deuteron")
    )
    torch.testing.assert_close(proton, neutron)
    torch.testing.assert_close(proton, deuteron)


def test_points_are_independent_of_one_another_and_of_their_number() -> None:
    tables = tables_of("nlo")
    # More than are worked on at a time.
    x = torch.logspace(-4, -0.1, 5000, dtype=torch.float64)
    Q2 = torch.logspace(1.5, 4.5, 5000, dtype=torch.float64).flip(0)
    together = tables.structure_function("F2_em", x, Q2)
    chosen = torch.tensor([0, 2500, 4999])
    torch.testing.assert_close(together[chosen], tables.structure_function("F2_em", x[chosen], Q2[chosen]), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("x", "Q2", "message"),
    [
        ([0.1, 1e-6], [10.0, 10.0], "1 of 2 points .*'x' reaches from 1e-06 to 1e-06 there, and the table from 1e-05 to 1"),
        ([0.1, 0.1, 0.1], [10.0, 1.0, 2.0], "2 of 3 points .*'Q2' reaches from 1 to 2 GeV2 there"),
        ([0.99e-5], [10.0], "1 of 1 points"),
        ([0.1], [1.001e8], "1 of 1 points"),
        ([0.1], [float("nan")], "1 of 1 points"),
        ([0.1, 0.2], [10.0], "have 2 and 1 values"),
    ],
)
def test_points_outside_the_table_are_refused(x: list[float], Q2: list[float], message: str) -> None:
    with pytest.raises(TableError, match=message):
        tables_of("lo").structure_function("F2_em", torch.tensor(x), torch.tensor(Q2))


def test_single_precision_at_the_edges_is_forgiven() -> None:
    tables = tables_of("lo")
    low, high = tables.settings.Q2_range
    tables.structure_function("F2_em", torch.tensor([1e-5, 1.0], dtype=torch.float32), torch.tensor([low, high], dtype=torch.float32))


def test_unknown_names_are_refused() -> None:
    point = torch.tensor([0.1]), torch.tensor([10.0])
    with pytest.raises(SettingsError, match="Did you mean 'F2_em'"):
        tables_of("lo").structure_function("f2_em", *point)
    with pytest.raises(SettingsError, match="no target 'lead'"):
        tables_of("lo").structure_function("F2_em", *point, target="lead")
