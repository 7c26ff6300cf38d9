"""The deep-inelastic problem: what it does with measured events, and what it refuses."""

import dataclasses
from typing import Any

import pytest
import torch

from unscatter.arrays import Events
from unscatter.detectors import electron_detector
from unscatter.errors import ColumnError, EventsError, SettingsError
from unscatter.events import read_events
from unscatter.events.store import write_store
from unscatter.pdfs import Functional, Neural, NodeValues
from unscatter.problems import dis, example_file
from unscatter.runcards import load_runcard
from unscatter.solve import SolveSettings, as_source
from unscatter.theories.dis import Beams, DisChannel

BEAMS = Beams(18.0, 275.0)
PROTON = DisChannel(name="proton", target="proton", beams=BEAMS, luminosity_inv_pb=4.10402, exchange="photon")
NEUTRON = dataclasses.replace(PROTON, name="neutron", target="neutron", luminosity_inv_pb=4.45738)


def small(*channels, **settings: Any):
    return dis(channels or [PROTON], **{"nodes": (33, 17), **settings})


def expected_counts(problem):
    counts = problem.density(problem.parameters_or_truth(None)).expected_counts
    assert counts is not None
    return counts


def real_events(count=2000):
    events = read_events(example_file("pythia_nc_eic_proton.parquet"), ("x", "Q2", "y"))
    return Events(events.values[:count], events.columns)


def test_measured_events_undergo_the_cuts_of_the_theory():
    problem, events = small(y_range=(0.05, 0.8), Q2_range=(20.0, 500.0)), real_events()
    kept = problem.prepare("proton", events)
    Q2, y = events.column("Q2"), events.column("y")
    assert kept.num_events == int(((y >= 0.05) & (y <= 0.8) & (Q2 >= 20) & (Q2 <= 500)).sum())
    assert kept.columns == ("x", "Q2", "y")
    source = as_source(problem, {"proton": events}, SolveSettings())
    assert float(source.counts[0, 0]) == kept.num_events


def test_measured_events_undergo_the_cuts_of_the_detector():
    problem, events = small(detector="eic-like", ranges={"Q2": (12.0, None)}, y_range=(0.004, 1.0)), real_events()
    kept = problem.prepare("proton", events)
    assert 0 < kept.num_events < events.num_events
    assert float(kept.column("Q2").min()) >= 12
    assert float(kept.column("y").min()) >= 0.01


def test_pseudo_data_look_like_events_of_pythia():
    # Made with parameters of a fit to them: counts within 3 %, mean logarithms within 3 %.
    problem = small(nodes=(97, 49))
    made = problem.simulate(num_events=40_000, seed=3)["proton"]
    real = problem.prepare("proton", real_events(48_000))
    for name in ("x", "Q2", "y"):
        means = [float(sample.column(name).double().log().mean()) for sample in (made, real)]
        assert means[0] == pytest.approx(means[1], rel=0.03)
    expected = float(expected_counts(problem))
    seen = problem.prepare("proton", real_events(300_000)).num_events
    assert expected == pytest.approx(seen, rel=0.05)


def test_events_of_other_beams_are_refused_with_both_energies():
    problem = small()
    wrong = real_events().with_columns({"y": real_events().column("y") / 3})
    words = r"(?s)2,000 of 2,000 have Q2 / \(x y\) more than 1% above the s = 19800 GeV2 .*The first is row 0 .* make 59399.8 GeV2"
    with pytest.raises(EventsError, match=words):
        problem.prepare("proton", wrong)


def test_events_that_contradict_their_beams_are_refused_with_their_number_and_the_first_of_them():
    events = real_events(3000)
    x = events.column("x").clone()
    x[7:1357] *= 2
    words = rf"(?s)1,339 of 2,989 events .* more than 10%.*first is row 7.* x = {float(x[7]):g}, .*cuts: \['abs\(Q2 / "
    with pytest.raises(EventsError, match=words):
        small().prepare("proton", events.with_columns({"x": x}))


def made_up(count, last_off=0, factor=2.0):
    """Events of the beams, the last ones of which contradict them."""
    x, y = torch.linspace(0.01, 0.3, count, dtype=torch.float64), torch.full((count,), 0.4, dtype=torch.float64)
    Q2 = x * y * BEAMS.s
    if last_off:
        Q2[-last_off:] *= factor
    return Events(torch.stack([x, Q2, y], -1).float(), ("x", "Q2", "y"))


@pytest.fixture(params=["memory", "store of 50 blocks"])
def given(request, tmp_path):
    """What turns events into events in memory, or in a store."""

    def stored(events):
        columns = {name: events.column(name).numpy() for name in events.columns}
        return write_store(tmp_path / "store", [columns], rows_per_block=16 * (events.num_events // 800 + 1))

    return (lambda events: events) if request.param == "memory" else stored


@pytest.mark.parametrize(
    ("count", "last_off", "factor", "words"),
    [
        (20_050, 8, 2.0, None),
        (5_000, 50, 2.0, None),
        (5_000, 51, 2.0, "51 of 5,000 events .* where at most 1% may be. The first is row 4949 "),
        (200, 3, 2.0, None),
        (200, 4, 2.0, "4 of 200 events .* The first is row 196 "),
        (5_000, 2_500, 1.02, None),
        (5_000, 2_501, 1.02, "other beams: 2,501 of 5,000 have .* 1% above .* The first is row 2499 "),
        (5_000, 2_501, 0.98, "other beams: 2,501 of 5,000 have .* 1% below .* The first is row 2499 "),
    ],
)
def test_events_are_judged_by_all_of_a_channel_wherever_they_lie(given, count, last_off, factor, words):
    events = {"proton": given(made_up(count, last_off, factor))}
    if words is None:
        assert float(as_source(small(), events, SolveSettings()).counts[0, 0]) > 0
    else:
        with pytest.raises(EventsError, match=words):
            as_source(small(), events, SolveSettings())


def test_blocks_of_another_kind_are_not_refused_where_the_channel_is_in_order(given):
    # 40 events in a block of their own, which alone would belong to other beams.
    assert as_source(small(), {"proton": given(made_up(5_000, 40, 3.0))}, SolveSettings()).columns == ("x", "Q2", "y")


def few_digits(events):
    return Events(torch.tensor([[float(f"{value:.3g}") for value in row] for row in events.values.tolist()]), events.columns)


def four_decimals(events):
    return Events(events.values.double().mul(1e4).round().div(1e4), events.columns)


def some_off(events, count=20, factor=2.0):
    values = events.values.clone()
    values[:count, 0] *= factor
    return Events(values, events.columns)


def without_meaning(events):
    """Behind a resolution y may be negative, and x is bounded."""
    values = events.values.clone()
    values[:400, 2] *= -0.3
    values[:400, 0] = 2.0
    return Events(values, events.columns)


@pytest.mark.parametrize("change", [few_digits, four_decimals, some_off, without_meaning], ids=lambda change: change.__name__)
def test_events_may_be_rounded_a_few_be_off_and_some_have_lost_their_meaning(change):
    events = real_events()
    assert small().prepare("proton", change(events)).num_events > 0.6 * events.num_events


def test_no_event_inside_the_cuts_is_an_error():
    with pytest.raises(EventsError, match="lie outside"):
        small(Q2_range=(6000.0, 9000.0)).prepare("proton", real_events(100))


def test_channels_are_combined_and_share_parameters():
    problem = small(PROTON, NEUTRON, luminosity_errors={"neutron": 0.02})
    assert problem.channels == ("proton", "neutron")
    assert problem.space.names[-1] == "norm_neutron"
    low, high = 0.95, 1.05
    ends = problem.space.to_parameters(torch.tensor([[-50.0], [50.0]]).expand(2, problem.space.latent_size))[:, -1]
    assert torch.allclose(ends, torch.tensor([low, high]), atol=1e-3)
    # One standard deviation of the prior is the error of the luminosity.
    latent = problem.start_latent
    assert problem.prior_width is not None
    latent[-1] += problem.prior_width
    assert float(problem.space.to_parameters(latent)[-1]) == pytest.approx(1.02, abs=5e-4)


@pytest.mark.parametrize("form", [Neural(hidden=(6,)), NodeValues()], ids=lambda form: form.name)
def test_every_parametrisation_makes_events(form):
    problem = small(parametrisation=form)
    events = problem.simulate(form.start, num_events=500, seed=1)["proton"]
    assert events.num_events == 500
    assert bool(torch.isfinite(events.values).all())


def test_charged_currents_and_positrons_are_channels_as_well():
    cc = DisChannel(name="cc", target="proton", beams=Beams(27.5, 920.0), luminosity_inv_pb=100.0, lepton="e+", current="CC")
    nc = dataclasses.replace(cc, name="nc", current="NC", exchange="photon+Z", luminosity_inv_pb=1.0)
    problem = dis([cc, nc], Q2_range=(200.0, 30_000.0), nodes=(33, 17))
    expected = expected_counts(problem)
    # HERA, e+p at 318 GeV, Q2 > 200 GeV2: about 30 pb of charged currents; 4 pi alpha^2 / Q2_min is 1300 pb, times the integral of
    # F2 by ln x, which is about two, for neutral ones.
    assert 10 < float(expected[0]) / 100 < 60
    assert 1300 < float(expected[1]) < 4000


def test_curves_are_the_densities_of_the_theory():
    problem = small()
    start = torch.tensor(problem.start, dtype=torch.float64)
    families = {family.name: family for family in problem.curves}
    F2, evolved, at_start = families.values()
    assert at_start.curves[0] == "g"
    assert torch.allclose(at_start.function(start)[2], Functional()(start, at_start.abscissa)[2])
    xf = dict(zip(evolved.curves, evolved.function(start), strict=True))
    up, down = xf["u"] + xf["ubar"] + 2 * xf["c"], xf["d"] + xf["dbar"] + 2 * xf["s"] + 2 * xf["b"]
    assert torch.allclose(F2.function(start)[0], (4 * up + down) / 9, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"luminosity_errors": {"iron": 0.1}}, "names 'iron', but the channels are"),
        ({"luminosity_errors": {"proton": 2.0}}, "must lie between 0 and 0.4, got 2"),
        ({"detector": "perfect"}, "'preset' must be one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        small(**settings)


def test_channels_of_different_beams_are_refused():
    with pytest.raises(SettingsError, match="have different beams"):
        small(PROTON, dataclasses.replace(NEUTRON, beams=Beams(10.0, 100.0)))


CARD = """
problem:
  name: dis
  nodes: [17, 9]
  channels:
    proton: {target: proton, luminosity_inv_pb: 2.7}
    neutron: {target: neutron, luminosity_inv_pb: 3.0}
events:
  proton: example:pythia_nc_eic_proton.parquet
  neutron: example:pythia_nc_eic_NEUTRON.parquet
"""


def test_runcard_builds_the_problem_and_reads_the_examples():
    job = load_runcard(CARD.replace("NEUTRON", "neutron")).build()
    assert job.problem.channels == ("proton", "neutron")
    assert job.events["neutron"].num_events == 299_845
    assert job.problem.truth is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("NEUTRON", "proton", "are the same file"),
        ("NEUTRON", "lead", "there is no example 'pythia_nc_eic_lead.parquet'"),
        (", luminosity_inv_pb: 2.7", "", "luminosity_inv_pb"),
        ("nodes: [17, 9]", "Q2_range: [100, 10]", "upside down"),
        ("nodes: [17, 9]", "tables: missing.npz", "missing.npz"),
        ("    neutron:", "    ../neutron:", r"\(line 7\): '../neutron' is no name for a channel"),
        ("target: neutron", "target: lead", "lead"),
    ],
)
def test_bad_runcards_say_what_is_wrong(old, new, words):
    text = CARD.replace(old, new).replace("NEUTRON", "neutron")
    with pytest.raises((SettingsError, OSError), match=words):
        load_runcard(text).build()


def test_missing_migration_is_told_with_the_cut_that_mends_it():
    with pytest.warns(UserWarning, match=r"measured 'Q2' is not cut.*(?s:.)*ranges=\{'Q2': \(12, None\)\}"):
        small(detector="eic-like", y_range=(0.002, 1.0))


def behind_a_detector(reconstruction, **settings):
    ranges = {"Q2": (12.0, None), **settings.pop("ranges", {})}
    theory: dict[str, Any] = {"Q2_range": (8.0, 9000.0), "y_range": (0.002, 1.0)}
    return small(detector="eic-like", reconstruction=reconstruction, ranges=ranges, **theory, **settings)


@pytest.mark.parametrize("reconstruction", ["electron", "mixed", "sigma", "e-sigma", "average"])
def test_pseudo_data_behind_a_detector_pass_its_cuts_again(reconstruction):
    problem = behind_a_detector(reconstruction)
    made = problem.simulate(num_events=3000, seed=4)["proton"]
    assert made.columns == problem.measured_columns
    prepared = problem.prepare("proton", made.to(dtype=torch.float32))
    assert prepared.columns == problem.observables
    assert prepared.num_events >= 2999  # single precision may move one across an edge


def test_events_of_another_reconstruction_must_bring_the_electron_along_for_its_cuts():
    alone, average = behind_a_detector("electron"), behind_a_detector("average")
    assert alone.measured_columns == alone.observables
    assert average.measured_columns == (*average.observables, "electron_energy", "electron_theta")
    uncut = behind_a_detector("average", ranges={"electron_energy": (None, None), "electron_theta": (None, None)})
    assert uncut.measured_columns == uncut.observables
    with pytest.raises(
        ColumnError, match=r"(?s)cuts on \['electron_energy', 'electron_theta'\].*channel 'proton'.*reconstruction.*None, None"
    ):
        average.prepare("proton", real_events(100))


def test_hadrons_are_an_observable_of_their_own_where_they_are_measured():
    with pytest.raises(ColumnError, match="observable 'hadron_y' is not recorded"):
        behind_a_detector("electron", observables=("Q2", "y", "hadron_y"))
    both = behind_a_detector("average", observables=("Q2", "y", "hadron_y"))
    assert both.simulate(num_events=10)["proton"].columns[:3] == ("Q2", "y", "hadron_y")


def test_settings_of_presets_beside_a_detector_of_ones_own_are_refused():
    own = electron_detector("eic-like", BEAMS)
    for setting in ({"ranges": {"Q2": (12.0, None)}}, {"background": 0.1}, {"reconstruction": "average"}):
        with pytest.raises(SettingsError, match="belong to the presets"):
            small(detector=own, **setting)
