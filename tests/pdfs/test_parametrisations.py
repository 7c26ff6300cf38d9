import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from unscatter.errors import SettingsError
from unscatter.pdfs import FIT_FLAVOURS, Functional, Neural, NodeValues, PdfParametrisation
from unscatter.physics.sum_rules import quadrature

FORMS = [Functional(), NodeValues(), Neural(hidden=(8, 8))]
FREE = [Functional(sum_rules=False), NodeValues(sum_rules=False), Neural(hidden=(8,), sum_rules=False)]


def parameters_of(form, count=5, spread=0.3, seed=0):
    """Random points inside the ranges, around the start."""
    random = torch.Generator().manual_seed(seed)
    start = torch.tensor(form.start, dtype=torch.float64)
    noise = torch.randn(count, len(start), dtype=torch.float64, generator=random)
    num_ranges = len(form.ranges)
    low, high = torch.tensor(list(form.ranges.values()), dtype=torch.float64).T
    width = torch.where(torch.isfinite(high - low), (high - low) / 6, 1.0)
    ranged = (start[:num_ranges] + spread * width * noise[:, :num_ranges]).clamp(low, high)
    fractions = torch.softmax(torch.log(start[num_ranges:]) + spread * noise[:, num_ranges:], -1)
    return torch.cat([ranged, fractions if form.fractions else start[num_ranges:].expand(count, -1)], -1)


def by_flavour(xf):
    return dict(zip(FIT_FLAVOURS, xf.unbind(-2), strict=True))


@pytest.mark.parametrize("form", FORMS + FREE, ids=lambda form: f"{form.name}-{form.sum_rules}")
def test_form_obeys_the_protocol(form):
    assert isinstance(form, PdfParametrisation)
    assert len(form.start) == len(form.ranges) + len(form.fractions)
    for value, (low, high) in zip(form.start, form.ranges.values(), strict=False):
        assert low <= value <= high
    assert not form.fractions or sum(form.start[len(form.ranges) :]) == pytest.approx(1)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_momentum_and_valence_sum_rules_are_exact(form):
    # An independent rule: trapezoids in ln x on a million points.
    x = torch.logspace(-14, 0, 400_001, dtype=torch.float64)[:-1]
    xf = by_flavour(form(parameters_of(form, count=2), x))

    def integral(values):  # of values / x by dx, that is of values by d ln x
        return torch.trapezoid(values, torch.log(x))

    momentum = torch.stack([integral(xf[name] * x) for name in FIT_FLAVOURS]).sum(0)
    assert torch.allclose(momentum, torch.ones_like(momentum), atol=2e-5)
    assert torch.allclose(integral(xf["u"] - xf["ubar"]), torch.tensor(2.0, dtype=torch.float64), atol=2e-4)
    assert torch.allclose(integral(xf["d"] - xf["dbar"]), torch.tensor(1.0, dtype=torch.float64), atol=2e-4)
    assert torch.equal(xf["s"], xf["sbar"])


@pytest.mark.parametrize("form", FREE, ids=lambda form: form.name)
def test_without_sum_rules_norms_are_what_the_parameters_say(form):
    names = [*form.ranges, *form.fractions]
    parameters = torch.tensor(form.start, dtype=torch.float64)
    parameters[names.index("number_uv")] = 3.0
    x, weights = quadrature()
    xf = by_flavour(form(parameters, x))
    assert float((xf["u"] - xf["ubar"]) @ (weights / x)) == pytest.approx(3.0, rel=1e-6)
    assert float(xf["g"] @ weights) == pytest.approx(float(parameters[names.index("momentum_g")]), rel=1e-6)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_densities_are_positive_everywhere(form):
    x = torch.logspace(-5, -0.001, 200, dtype=torch.float64)
    assert bool((form(parameters_of(form, count=50, spread=1.0), x) >= 0).all())


@pytest.mark.parametrize("form", [Functional(positivity=False), NodeValues(positivity=False)], ids=lambda form: form.name)
def test_without_positivity_a_density_can_become_negative(form):
    names, x = [*form.ranges, *form.fractions], torch.logspace(-2, -0.01, 100, dtype=torch.float64)
    parameters = torch.tensor(form.start, dtype=torch.float64)
    name = "ubar_d" if "ubar_d" in names else "ubar(0.3)"
    parameters[names.index(name)] = -2.9
    assert bool((form(parameters, x) < 0).any())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_parameter_moves_the_densities(form):
    x = torch.logspace(-4, -0.05, 40, dtype=torch.float64)
    parameters = parameters_of(form, count=1)[0].requires_grad_()
    projection = torch.linspace(0.5, 1.5, 8 * 40, dtype=torch.float64).reshape(8, 40)
    (gradient,) = torch.autograd.grad((form(parameters, x) * projection / (x + 0.01)).sum(), parameters)
    assert bool(gradient.isfinite().all())
    assert bool((gradient != 0).all())


def test_node_values_are_reproduced_at_the_nodes():
    form = NodeValues()
    names = [*form.ranges, *form.fractions]
    nodes = torch.tensor(form.nodes, dtype=torch.float64)
    start = torch.tensor(form.start, dtype=torch.float64)
    raised = start.clone()
    raised[names.index("g(0.15)")] = 0.7
    # The gluon's norm changes as well: ratios to the gluon at another node, whose value did not change.
    before, after = form(start, nodes)[0], form(raised, nodes)[0]
    ratio = (after / before) / (after[0] / before[0])
    wanted = torch.ones_like(nodes)
    wanted[form.nodes.index(0.15)] = torch.exp(torch.tensor(0.7, dtype=torch.float64))
    assert torch.allclose(ratio, wanted, rtol=1e-9)


def test_network_starts_near_its_preprocessing_and_depends_on_its_seed():
    x = torch.logspace(-3, -0.1, 20, dtype=torch.float64)
    one, other = Neural(seed=0), Neural(seed=1)
    a, b = (form(torch.tensor(form.start, dtype=torch.float64), x) for form in (one, other))
    assert not torch.equal(a, b)
    assert float((a / b - 1).abs().max()) < 1.0


@pytest.mark.parametrize("seed", range(3))
def test_functional_form_is_the_one_of_its_formula(seed: int) -> None:
    """Written out once more, with SciPy's quadrature for the sum rules."""
    form, generator = Functional(), np.random.default_rng(seed)
    p = {name: generator.uniform(0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high) for name, (low, high) in form.ranges.items()}
    fractions = dict(zip(form.fractions, generator.dirichlet([5.0, 2.0, 2.0]), strict=True))

    def positive(name: str, x: float) -> float:
        t, (b, c, d, e) = math.sqrt(x), (p[f"{name}_{letter}"] for letter in "bcde")
        return x**b * (1 - x) ** c * ((1 - t) ** 2 + 2 * d * t * (1 - t) + e * t**2)

    shapes = {
        "uv": lambda x: x ** p["uv_b"] * (1 - x) ** p["uv_c"] * (1 + p["uv_d"] * x + p["uv_e"] * x**2),
        "dv": lambda x: x ** p["dv_b"] * (1 - x) ** p["dv_c"] * (1 + p["dv_d"] * x),
        **{name: partial(positive, name) for name in ("g", "ubar", "dbar")},
    }
    momentum = {name: quad(shape, 0, 1, limit=200)[0] for name, shape in shapes.items()}
    number = {name: quad(lambda x, s=shapes[name]: s(x) / x, 0, 1, limit=200)[0] for name in ("uv", "dv")}
    norm = {"uv": 2 / number["uv"], "dv": 1 / number["dv"]}
    left = 1 - sum(norm[name] * momentum[name] for name in norm)
    members = {"g": 1.0, "ubar": 2.0, "dbar": 2 + 2 * p["strange"] + p["charm"]}
    norm |= {name: fractions[f"fraction_{name}"] * left / (count * momentum[name]) for name, count in members.items()}
    for x in (0.003, 0.1, 0.6):
        uv, dv, g, ubar, dbar = (norm[name] * shapes[name](x) for name in ("uv", "dv", "g", "ubar", "dbar"))
        strange = p["strange"] * dbar
        expected = {
            "g": g, "d": dv + dbar, "u": uv + ubar, "s": strange, "dbar": dbar, "ubar": ubar, "sbar": strange, "c+": p["charm"] * dbar,
        }  # fmt: skip
        found = form(torch.tensor([*p.values(), *fractions.values()], dtype=torch.float64), torch.tensor([x], dtype=torch.float64))[:, 0]
        assert dict(zip(FIT_FLAVOURS, found.tolist(), strict=True)) == pytest.approx(expected, rel=1e-5)


def test_coefficients_may_have_either_sign_only_where_densities_need_not_be_positive() -> None:
    confined, free = Functional().ranges, Functional(positivity=False).ranges
    coefficients = [name for name in confined if name.endswith(("_d", "_e"))]
    assert len(coefficients) == 9
    for name in coefficients:
        assert confined[name][0] > -1
        assert free[name][0] < -1
    assert all(confined[name] == free[name] for name in confined if name not in coefficients)


@pytest.mark.parametrize("nodes", [(), (0.5,), (1.5,), (float("nan"),)])
def test_fewer_than_two_nodes_are_refused(nodes):
    with pytest.raises(SettingsError, match=r"'nodes' must be at least two momentum fractions .*, got \("):
        NodeValues(nodes)
