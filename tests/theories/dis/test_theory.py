"""Deep-inelastic events: the density against its formula, and against events that PYTHIA made."""

import dataclasses
import math

import pyarrow.parquet as pq
import pytest
import torch

from tests.theories.dis.densities import nnpdf31_lo
from unscatter.arrays.interpolation import interpolate
from unscatter.errors import SettingsError, TableError
from unscatter.pdfs import FIT_FLAVOURS, Functional
from unscatter.physics.dis_cross_sections import nc_prefactor
from unscatter.problems import example_file
from unscatter.theories.dis import Beams, DisChannel, DisTheory, dis_grid, load_tables
from unscatter.theories.dis.channels import cross_section_operator

BEAMS = Beams(18.0, 275.0)
TABLES = load_tables("lo")
PROTON = DisChannel(name="proton", target="proton", beams=BEAMS, luminosity_inv_pb=4.10402, exchange="photon")
NEUTRON = DisChannel(name="neutron", target="neutron", beams=BEAMS, luminosity_inv_pb=4.45738, exchange="photon")
START = torch.tensor(Functional().start, dtype=torch.float64)


def theory(*channels, nodes=(13, 9), Q2_range=(10.0, 9000.0), y_range=(0.01, 0.95), **others):
    return DisTheory(Functional(), TABLES, channels, dis_grid(Q2_range, y_range, nodes), **others)


def test_density_is_the_leading_order_formula():
    # Without evolution: at the starting scale F2 is x times the charge-weighted sum of the densities themselves.
    Q2, y = torch.tensor([1.65**2], dtype=torch.float64), torch.tensor([0.02], dtype=torch.float64)
    x = Q2 / (BEAMS.s * y)
    xf = dict(zip(FIT_FLAVOURS, Functional()(START, x)[:, 0].tolist(), strict=True))
    up, down = xf["u"] + xf["ubar"] + xf["c+"], xf["d"] + xf["dbar"] + xf["s"] + xf["sbar"]
    wanted = float(nc_prefactor(x, Q2) * (1 + (1 - y) ** 2) * x / y) * (4 * up + down) / 9
    operator = cross_section_operator(PROTON, TABLES, Q2, y)[0]
    found = float((operator * Functional()(START, TABLES.x_nodes)).sum())
    assert found == pytest.approx(wanted, rel=2e-4)


def test_neutron_is_the_proton_with_u_and_d_exchanged():
    swapped = [FIT_FLAVOURS.index(name) for name in ("g", "u", "d", "s", "ubar", "dbar", "sbar", "c+")]
    Q2, y = torch.tensor([30.0, 400.0], dtype=torch.float64), torch.tensor([0.1, 0.5], dtype=torch.float64)
    proton, neutron = (cross_section_operator(channel, TABLES, Q2, y) for channel in (PROTON, NEUTRON))
    assert torch.allclose(neutron, proton[:, swapped])


def test_luminosity_and_free_norm_scale_one_channel():
    plain = theory(PROTON, NEUTRON)
    double = theory(dataclasses.replace(PROTON, luminosity_inv_pb=2 * PROTON.luminosity_inv_pb), NEUTRON)
    free = theory(PROTON, NEUTRON, free_norms=("proton",))
    scaled = free(torch.cat([START, torch.tensor([1.1], dtype=torch.float64)]))
    counts = [density.expected_counts for density in (plain(START), double(START), scaled)]
    ratios = torch.stack([count for count in counts if count is not None])
    wanted = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.1, 1.0]], dtype=torch.float64)
    assert torch.allclose(ratios / ratios[0], wanted)
    assert torch.allclose(scaled.values[0], 1.1 * plain(START).values[0])


def test_there_are_no_events_beyond_x_of_one():
    density = theory(PROTON)(START)
    Q2, y = density.grid.mesh()
    assert bool((density.values[0][Q2 / (BEAMS.s * y) >= 1] == 0).all())
    assert bool((density.values >= 0).all())


def test_every_parameter_reaches_the_density():
    parameters = START.clone().requires_grad_()
    density = theory(PROTON, NEUTRON)(parameters)
    weights = torch.linspace(0.5, 2.0, density.values.numel(), dtype=torch.float64).reshape(density.values.shape)
    (gradient,) = torch.autograd.grad((density.values * weights).sum(), parameters)
    assert bool((gradient.isfinite() & (gradient != 0)).all())


def test_events_of_pythia_follow_the_theory_with_the_densities_they_were_made_with():
    # Expected: 0.5 to 1 % fewer events than the formula gives, and for 100,000 events its shape; more of them see the generator's own
    # deviations (PYTHIA 8.318).
    xf = nnpdf31_lo(TABLES.x_nodes)
    edges = torch.logspace(1, math.log10(4000), 8, dtype=torch.float64), torch.logspace(-2, math.log10(0.95), 9, dtype=torch.float64)
    for channel in (PROTON, NEUTRON):
        exact = theory(channel, nodes=(127, 97), Q2_range=(10.0, 4000.0))
        values = torch.einsum("kn,k->n", exact._exact_operator, xf.flatten()).reshape(exact.grid.shape)
        table = pq.read_table(example_file(f"pythia_nc_eic_{channel.name}.parquet"))
        points = torch.stack([torch.from_numpy(table[name].to_numpy()) for name in ("Q2", "y")], 1).double()
        expected = binned(exact.grid, values, edges)
        inside = ((points[:, 0] <= 4000) & (points[:, 1] >= 0.01) & (points[:, 1] <= 0.95)).sum()
        assert float(inside / expected.sum()) == pytest.approx(0.993, abs=0.005)
        counts = torch.histogramdd(points[:100_000], list(edges)).hist
        shape = expected * counts.sum() / expected.sum()
        filled = shape > 10
        chi2 = float(((counts - shape) ** 2 / shape)[filled].sum() / filled.sum())
        assert 0.6 < chi2 < 1.4


def binned(grid, values, edges, fine=40):
    """Integrals of a density over bins, by midpoints in logarithms."""
    axes, steps = zip(*(_midpoints(edge.double(), fine) for edge in edges), strict=True)
    Q2, y = torch.meshgrid(*axes, indexing="ij")
    inside = torch.stack([Q2.clamp(grid.low[0], grid.high[0]), y.clamp(grid.low[1], grid.high[1])], -1).reshape(-1, 2)
    cells = interpolate(values[None], grid, inside[None])[0].reshape(Q2.shape) * Q2 * y * steps[0][:, None] * steps[1]
    return cells.reshape(len(edges[0]) - 1, fine, len(edges[1]) - 1, fine).sum((1, 3))


def _midpoints(edges, fine):
    """Midpoints of ``fine`` logarithmic parts of every bin, and the width of the parts in ln."""
    widths = (edges.log().diff() / fine).repeat_interleave(fine)
    return torch.exp(edges.log()[0] + torch.cumsum(widths, 0) - widths / 2), widths


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "iron"}, "'target' of channel 'proton' must be one of"),
        ({"lepton": "mu"}, "'lepton' of channel 'proton'"),
        ({"exchange": "gluon"}, "'exchange' of channel 'proton'"),
        ({"luminosity_inv_pb": 0.0}, "luminosity of channel 'proton' must be a positive number"),
        ({"luminosity_inv_pb": math.nan}, "luminosity of channel 'proton' must be a positive number"),
    ],
)
def test_impossible_channels_are_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        dataclasses.replace(PROTON, **changes)


def test_impossible_theories_are_refused():
    with pytest.raises(SettingsError, match="different names"):
        theory(PROTON, PROTON)
    with pytest.raises(SettingsError, match="'free_norms' names \\['iron'\\]"):
        theory(PROTON, free_norms=("iron",))
    with pytest.raises(SettingsError, match="cannot exceed 1"):
        dis_grid((10.0, 100.0), (0.1, 1.2), (5, 5))
    with pytest.raises(SettingsError, match="range of 'Q2' must be positive and increasing"):
        dis_grid((100.0, 10.0), (0.1, 0.9), (5, 5))


def test_ranges_below_the_table_name_count_and_range():
    with pytest.raises(TableError, match="'Q2' reaches from 1 to"):
        theory(PROTON, Q2_range=(1.0, 100.0))(START)


def test_expected_counts_hardly_depend_on_the_grid():
    coarse, fine = (theory(PROTON, nodes=nodes)(START).expected_counts for nodes in ((49, 25), (193, 97)))
    assert coarse is not None
    assert fine is not None
    assert float(coarse / fine) == pytest.approx(1, abs=0.003)
