from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Density, Events, Grid
from unscatter.detectors import Background, Cuts, Detector, EventPool
from unscatter.errors import ColumnError, EventsError, ParameterError, SettingsError, ShapeError

POOL = Events(torch.tensor([[10.0], [11.0], [12.0], [13.0]]), ("x",))


def signal_events(num_channels: int = 2, num_events: int = 40, weighted: bool = True) -> Events:
    values = torch.rand(num_channels, num_events, 1)
    return Events(values, ("x",), torch.rand(num_channels, num_events) if weighted else None)


def mix(background: Background, events: Events, nuisances: dict[str, Tensor] | None = None) -> Events:
    noise = torch.rand(*events.values.shape[:-1], background.noise_columns)
    return background(events, noise, nuisances or {})


@pytest.mark.parametrize("events_per_signal", [None, 0.1, 1.0, 2.5])
def test_background_holds_the_fraction_of_the_weights_in_each_channel(events_per_signal: float | None) -> None:
    events = signal_events()
    mixed = mix(Background(0.3, events=POOL, events_per_signal=events_per_signal), events)
    is_background = mixed.column("x") >= 10
    assert mixed.weights is not None
    torch.testing.assert_close((mixed.weights * is_background).sum(-1) / mixed.weights.sum(-1), torch.full((2,), 0.3))
    assert torch.equal(mixed.values[:, :40], events.values)


def test_sum_of_weights_grows_by_one_over_signal_fraction() -> None:
    events = signal_events()
    mixed = mix(Background(0.2, events=POOL), events)
    assert mixed.weights is not None
    torch.testing.assert_close(mixed.weights.sum(-1), events.weights_or_ones().sum(-1) / 0.8)


def test_fixed_fraction_gives_equal_weights_to_signal_and_background_by_default() -> None:
    mixed = mix(Background(0.2, events=POOL), signal_events(weighted=False))
    assert mixed.num_events == 50
    torch.testing.assert_close(mixed.weights_or_ones(), torch.ones(2, 50))


def test_no_background_changes_no_expectation() -> None:
    mixed = mix(Background(0.0, events=POOL), signal_events(weighted=False))
    assert mixed.weights_or_ones().sum(-1).tolist() == [40.0, 40.0]


def test_gradient_of_a_mean_with_respect_to_the_fraction_is_background_minus_signal() -> None:
    # <x> = (1 - f) <x>_s + f <x>_b.
    fraction = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    events = signal_events().to(dtype=torch.float64)
    mixed = mix(Background("contamination", events=POOL), events, {"contamination": fraction})
    weights, x = mixed.weights_or_ones(), mixed.column("x")
    means = (weights * x).sum(-1) / weights.sum(-1)
    signal, background = x[:, :40], x[:, 40:]
    signal_mean = (signal * events.weights_or_ones()).sum(-1) / events.weights_or_ones().sum(-1)
    (gradient,) = torch.autograd.grad(means[0], fraction)
    torch.testing.assert_close(gradient, background[0].mean() - signal_mean[0])


def test_gradient_of_the_signal_reaches_the_weights_of_the_background() -> None:
    weights = torch.ones(1, 10, requires_grad=True)
    mixed = mix(Background(0.5, events=POOL), Events(torch.rand(1, 10, 1), ("x",), weights))
    (gradient,) = torch.autograd.grad(mixed.weights_or_ones().sum(), weights)
    torch.testing.assert_close(gradient, torch.full((1, 10), 2.0))


def test_a_fitted_fraction_may_differ_between_channels_and_replicas() -> None:
    fraction = torch.tensor([[[0.1], [0.2]], [[0.3], [0.4]], [[0.5], [0.6]]])
    events = Events(torch.rand(3, 2, 8, 1), ("x",))
    mixed = mix(Background("f", events=POOL), events, {"f": fraction})
    torch.testing.assert_close(mixed.weights_or_ones().sum(-1), 8 / (1 - fraction[..., 0]))


def test_events_are_picked_in_proportion_to_their_weights_in_each_channel() -> None:
    weights = torch.tensor([[1.0, 0.0, 3.0, 4.0], [2.0, 2.0, 0.0, 0.0]])
    pool = EventPool(Events(torch.arange(8.0).reshape(2, 4, 1), ("x",), weights))
    uniforms = ((torch.arange(800) + 0.5) / 800).expand(2, 800)[..., None]
    picked = pool(uniforms)[..., 0]
    counts = torch.stack([torch.bincount(channel.long(), minlength=8) for channel in picked])
    assert counts.tolist() == [[100, 0, 300, 400, 0, 0, 0, 0], [0, 0, 0, 0, 400, 400, 0, 0]]


def test_unweighted_events_are_picked_equally_often_up_to_the_ends_of_the_uniforms() -> None:
    uniforms = torch.cat([torch.arange(400.0) / 400, torch.tensor([1 - 2.0**-24])])[None, :, None]
    counts = torch.bincount(EventPool(POOL)(uniforms).flatten().long() - 10)
    assert counts.tolist() == [100, 100, 100, 101]


def test_unweighted_events_are_picked_from_their_own_channel() -> None:
    pool = EventPool(Events(torch.arange(8.0).reshape(2, 4, 1), ("x",)))
    uniforms = torch.tensor([0.1, 0.3, 0.6, 0.9]).expand(2, 4)[..., None]
    assert pool(uniforms)[..., 0].tolist() == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]


@pytest.mark.parametrize("weights", [None, torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])], ids=["unweighted", "weighted"])
def test_uniforms_at_the_very_ends_pick_events_of_their_channel(weights: Tensor | None) -> None:
    # 1 is what a float64 number just below it becomes in float32.
    pool = EventPool(Events(torch.arange(8.0).reshape(2, 4, 1), ("x",), weights))
    picked = pool(torch.tensor([0.0, 1.0]).expand(2, 2)[..., None])[..., 0]
    assert picked.tolist() == ([[0.0, 3.0], [4.0, 7.0]] if weights is None else [[1.0, 3.0], [5.0, 7.0]])


def test_background_columns_are_matched_by_name() -> None:
    pool = Events(torch.tensor([[1.0, 2.0, 3.0]]), ("extra", "y", "x"))
    mixed = mix(Background(0.5, events=pool), Events(torch.zeros(1, 1, 2), ("x", "y")))
    assert mixed.values.tolist() == [[[0.0, 0.0], [3.0, 2.0]]]


class PerChannelUniform:
    """A sampler for densities that are flat up to a channel's own end: counts its calls."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, density: Density, uniforms: Tensor) -> Events:
        self.shapes.append(tuple(uniforms.shape))
        return Events(uniforms * density.values[:, :1, None], density.grid.names)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_background_from_a_density_is_drawn_by_the_sampler_with_each_uniform_in_its_channel(num_channels: int) -> None:
    density = Density(torch.tensor([[1.0, 1.0], [5.0, 5.0]])[:num_channels], Grid.from_axes({"x": [0.0, 1.0]}), ("a", "b")[:num_channels])
    sampler = PerChannelUniform()
    background = Background.from_density(0.5, density, sampler)
    events = Events(torch.zeros(3, 2, 4, 1), ("x",))
    noise = torch.rand(3, 2, 4, 1)
    drawn = background(events, noise, {}).values[..., 4:, :]
    factor = torch.tensor([1.0, 5.0] if num_channels == 2 else [1.0, 1.0])[:, None, None]
    torch.testing.assert_close(drawn, noise * factor)
    assert len(sampler.shapes) == 1


def test_background_behind_cuts_is_a_fraction_of_what_passes() -> None:
    events = Events(torch.linspace(0, 1, 11)[None, :, None], ("x",))
    chain = Detector((Cuts({"x": (0.45, None)}), Background(0.25, events=POOL)))
    out = chain(events, torch.rand(1, 11, chain.noise_columns), {})
    assert float(out.weights_or_ones().sum()) == pytest.approx(6 / 0.75)


def test_bad_fractions_are_errors() -> None:
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ParameterError, match=r"must lie in \[0, 1\)"):
            Background(fraction, events=POOL)
    with pytest.raises(ParameterError, match=r"needs the nuisance parameter 'f', but only \['g'\]"):
        mix(Background("f", events=POOL), signal_events(), {"g": torch.tensor(0.1)})
    with pytest.raises(ShapeError, match="same for all events"):
        mix(Background("f", events=POOL), signal_events(), {"f": torch.full((2, 40), 0.1)})
    with pytest.raises(SettingsError, match="must be positive"):
        Background(0.1, events=POOL, events_per_signal=0.0)


def test_validate_finds_fitted_fractions_outside_their_range() -> None:
    background, events = Background("f", events=POOL), signal_events()
    noise = torch.rand(2, 40, 1)
    background.validate(events, noise, {"f": torch.tensor([[0.0], [0.9]])})
    with pytest.raises(ParameterError, match=r"from 0\.5 to 1"):
        background.validate(events, noise, {"f": torch.tensor([[0.5], [1.0]])})


def test_unusable_background_events_are_errors_at_once() -> None:
    with pytest.raises(EventsError, match="has no events"):
        Background(0.1, events=Events(torch.empty(0, 1), ("x",)))
    with pytest.raises(EventsError, match=r"1 of 2 background events .* first in row 1"):
        Background(0.1, events=Events(torch.tensor([[0.0], [torch.nan]]), ("x",)))
    with pytest.raises(EventsError, match="all zero"):
        Background(0.1, events=Events(torch.ones(2, 1), ("x",), torch.zeros(2)))
    with pytest.raises(ShapeError, match="4, 3, 2, 1"):
        Background(0.1, events=Events(torch.ones(4, 3, 2, 1), ("x",)))


def test_background_that_does_not_fit_the_signal_is_an_error() -> None:
    background = Background(0.1, events=POOL)
    with pytest.raises(ColumnError, match=r"has the columns \['x'\], but the signal has \['x', 'y'\]: missing are \['y'\]"):
        background.columns_out(("x", "y"))
    with pytest.raises(ColumnError, match="missing are"):
        mix(background, Events(torch.rand(1, 4, 2), ("x", "y")))
    with pytest.raises(ShapeError, match="has 3 channels but the signal has 2"):
        mix(Background(0.1, events=Events(torch.rand(3, 4, 1), ("x",))), signal_events())
