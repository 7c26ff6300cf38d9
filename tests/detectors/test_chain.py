from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Density, Events, Grid
from unscatter.detectors import Acceptance, Background, Cuts, Detector, DetectorStage, Efficiency, PerChannel, Smearing, UserSmearing
from unscatter.errors import ColumnError, ParameterError, SettingsError, ShapeError

POOL = Events(torch.tensor([[0.3, 2.0], [0.6, 3.0], [0.9, 1.0]]), ("x", "y"))
NUISANCES = {"f": torch.tensor(0.2)}


def flat_sampler(density: Density, uniforms: Tensor) -> Events:
    return Events(uniforms + 0 * density.values.sum(), density.grid.names)


def shear(event: Mapping[str, Tensor], normals: Tensor) -> Mapping[str, Tensor]:
    return {"x": event["x"] + 0.01 * normals[..., 0], "y": event["y"] + 0.02 * normals[..., 0] + 0.01 * normals[..., 1]}


GRID = Grid.from_axes({"x": [0.0, 1.0], "y": [0.0, 1.0]})
FLAT = Density(torch.ones(2, 2, 2), GRID, ("proton", "neutron"))
STAGES: dict[str, DetectorStage] = {
    "smearing": Smearing("x", absolute=0.02, relative=0.1, function=lambda event: 0.01 * event["y"]),
    "user smearing": UserSmearing(shear, noise_columns=2),
    "efficiency": Efficiency(lambda event: torch.sigmoid(event["x"])),
    "tabulated": Efficiency.tabulated("x", [0.0, 0.3, 1.0], [0.1, 0.9, 0.5]),
    "acceptance": Acceptance("y", low=0.1, high=0.9, width=0.05),
    "cuts": Cuts({"x": (0.1, 0.8), "y": (None, 0.9)}),
    "background": Background("f", events=POOL),
    "weighted background": Background(0.3, events=Events(POOL.values, POOL.columns, torch.tensor([1.0, 2.0, 3.0]))),
    "background per channel": Background(0.6, events=Events(torch.rand(2, 5, 2), ("x", "y"))),
    "background density": Background.from_density(0.1, FLAT, flat_sampler),
}
STAGES["chain"] = Detector((STAGES["smearing"], STAGES["background"], STAGES["cuts"], STAGES["user smearing"], STAGES["tabulated"]))
STAGES["ideal"] = Detector(())
STAGES["per channel"] = PerChannel(
    {"neutron": Detector((STAGES["background"],)), "proton": Detector((STAGES["smearing"], STAGES["background"]))}, ("proton", "neutron")
)


def events_and_noise(stage: DetectorStage, *batch: int) -> tuple[Events, Tensor]:
    events = Events(torch.rand(*batch, 2, 7, 2), ("x", "y"), torch.rand(*batch, 2, 7))
    return events, torch.rand(*batch, 2, 7, stage.noise_columns)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_every_stage_fulfils_the_protocol(stage: DetectorStage) -> None:
    assert isinstance(stage, DetectorStage)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_vmap_over_leading_axis_equals_the_loop_and_the_batched_call(stage: DetectorStage) -> None:
    events, noise = events_and_noise(stage, 3)
    fractions = torch.tensor([0.1, 0.2, 0.3])

    def fold(values: Tensor, weights: Tensor, noise: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
        out = stage(Events(values, events.columns, weights), noise, {"f": fraction})
        return out.values, out.weights_or_ones()

    assert events.weights is not None
    arguments = (events.values, events.weights, noise, fractions)
    mapped = torch.func.vmap(fold)(*arguments)
    looped = [torch.stack(parts) for parts in zip(*(fold(*row) for row in zip(*arguments, strict=True)), strict=True)]
    batched = fold(events.values, events.weights, noise, fractions[:, None, None])
    for have in (looped, batched):
        torch.testing.assert_close(mapped[0], have[0])
        torch.testing.assert_close(mapped[1], have[1])


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_gradients_inside_vmap_equal_those_of_the_loop(stage: DetectorStage) -> None:
    events, noise = events_and_noise(stage, 3)

    def score(values: Tensor, noise: Tensor) -> Tensor:
        out = stage(Events(values, events.columns), noise, NUISANCES)
        return (out.weights_or_ones() * out.values.square().sum(-1)).sum()

    mapped = torch.func.vmap(torch.func.grad(score))(events.values, noise)
    for i in range(3):
        values = events.values[i].clone().requires_grad_()
        (looped,) = torch.autograd.grad(score(values, noise[i]), values)
        assert bool(looped.any())
        torch.testing.assert_close(mapped[i], looped)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_no_stage_reads_values_so_none_waits_for_the_device(stage: DetectorStage) -> None:
    # Meta tensors have shapes and no values: whatever asks for a value, or mixes devices, raises.
    events, noise = events_and_noise(stage, 3)
    out = stage(events.to("meta"), noise.to("meta"), {"f": NUISANCES["f"].to("meta")})
    assert out.values.device.type == "meta"
    assert out.weights is not None
    assert out.weights.device.type == "meta"


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_same_input_gives_same_output_and_leaves_the_input_alone(stage: DetectorStage) -> None:
    events, noise = events_and_noise(stage)
    before = events.values.clone()
    first, second = stage(events, noise, NUISANCES), stage(events, noise, NUISANCES)
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.weights_or_ones(), second.weights_or_ones())
    assert torch.equal(events.values, before)


EXPECTED_GROWTH = {"smearing": 1.0, "cuts": 0.5, "efficiency": 0.25, "background": 1 / 0.8, "chain": 0.5 * 0.25 / 0.8}


@pytest.mark.parametrize("name", EXPECTED_GROWTH)
def test_sum_of_weights_over_events_in_is_the_change_of_the_rate(name: str) -> None:
    # Half of the events pass the cut, a quarter of the rest is seen, background makes up a fifth.
    stages: dict[str, DetectorStage] = {
        "smearing": Smearing("y", absolute=0.1),
        "cuts": Cuts({"x": (0.5, None)}),
        "efficiency": Efficiency(lambda event: torch.full_like(event["x"], 0.25)),
        "background": Background(0.2, events=POOL),
    }
    stages["chain"] = Detector(tuple(stages.values()))
    events = Events(torch.stack([torch.linspace(0, 1, 100), torch.rand(100)], -1)[None], ("x", "y"))
    out = stages[name](events, torch.rand(1, 100, stages[name].noise_columns), {})
    assert float(out.weights_or_ones().sum()) / 100 == pytest.approx(EXPECTED_GROWTH[name])


class Recorder:
    """Notes the noise that it is given."""

    nuisances: tuple[str, ...] = ()

    def __init__(self, noise_columns: int) -> None:
        self.noise_columns = noise_columns
        self.seen = torch.empty(0)

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        assert noise.shape == (*events.values.shape[:-1], self.noise_columns)
        self.seen = noise
        return events


class RecordingSource:
    """Background whose uniform numbers are noted."""

    columns = ("x",)
    dimensions = 2

    def __init__(self) -> None:
        self.seen = torch.empty(0)

    def __call__(self, uniforms: Tensor) -> Tensor:
        self.seen = uniforms
        return uniforms[..., :1]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> RecordingSource:
        return self


@pytest.mark.parametrize("ratio", [0.3, 1.0, 1.7])
def test_no_random_number_is_used_twice_even_behind_backgrounds(ratio: float) -> None:
    recorders = [Recorder(2), Recorder(1), Recorder(3), Recorder(1)]
    sources = [RecordingSource(), RecordingSource()]
    first, second = (Background(0.5, events=source, events_per_signal=ratio) for source in sources)
    chain = Detector((recorders[0], first, recorders[1], Detector((second, recorders[2])), recorders[3]))
    noise = torch.arange(2 * 10 * chain.noise_columns, dtype=torch.float64).reshape(2, 10, chain.noise_columns)
    out = chain(Events(torch.zeros(2, 10, 1, dtype=torch.float64), ("x",)), noise, {})
    assert out.num_events <= 10 * chain.max_growth
    added = round(10 * ratio)
    assert out.num_events == 10 + added + round((10 + added) * ratio)
    used = torch.cat([part.seen.flatten() for part in (*recorders, *sources)])
    assert len(used.unique()) == len(used)
    assert bool(torch.isin(used, noise).all())


def test_the_signal_keeps_the_noise_of_its_own_row_behind_a_background() -> None:
    recorder = Recorder(2)
    chain = Detector((Background(0.5, events=POOL), recorder))
    noise = torch.rand(1, 6, chain.noise_columns)
    chain(Events(torch.zeros(1, 6, 2), ("x", "y")), noise, {})
    assert torch.equal(recorder.seen[:, :6], noise[..., 1:3])


def test_ideal_detector_is_the_identity_and_takes_no_noise() -> None:
    events = Events(torch.rand(2, 5, 1), ("x",))
    ideal = Detector(())
    assert ideal.noise_columns == 0
    assert ideal(events, torch.empty(2, 5, 0), {}) is events
    assert ideal.columns_out(("x",)) == ("x",)
    assert ideal.nuisances == ()


def test_stages_act_in_order() -> None:
    events = Events(torch.full((1, 4, 1), 0.5), ("x",))
    shift = UserSmearing(lambda event, normals: {"x": event["x"] + 1}, noise_columns=0)
    cut = Cuts({"x": (None, 1.0)})
    noise = torch.empty(1, 4, 0)
    assert Detector((cut, shift))(events, noise, {}).weights_or_ones().tolist() == [[1.0] * 4]
    assert Detector((shift, cut))(events, noise, {}).weights_or_ones().tolist() == [[0.0] * 4]


def test_smearings_of_one_column_are_independent() -> None:
    events = Events(torch.zeros(1, 50_000, 1), ("x",))
    chain = Detector((Smearing("x", absolute=0.3), Smearing("x", absolute=0.4)))
    out = chain(events, torch.rand(1, 50_000, 2), {})
    assert float(out.column("x").std()) == pytest.approx(0.5, rel=0.02)


def test_noise_of_the_wrong_shape_is_an_error() -> None:
    chain = Detector((Smearing("x", absolute=0.3),))
    with pytest.raises(ShapeError, match=r"'noise' must have the shape \(1, 4, 1\).*got \(1, 4, 2\)"):
        chain(Events(torch.zeros(1, 4, 1), ("x",)), torch.rand(1, 4, 2), {})


class Doubling(Recorder):
    """Doubles the events and does not say so."""

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        return Events(events.values.repeat(1, 2, 1), events.columns)


def test_a_stage_that_grows_without_saying_so_is_an_error() -> None:
    with pytest.raises(ShapeError, match="returned 8 events for 4 but states a growth of at most 1"):
        Detector((Doubling(0), Smearing("x", absolute=0.1)))(Events(torch.zeros(1, 4, 1), ("x",)), torch.rand(1, 4, 1), {})


def test_stages_may_share_a_nuisance() -> None:
    chain = Detector((Background("f", events=POOL), Background("g", events=POOL), Background("f", events=POOL)))
    assert chain.nuisances == ("f", "g")


def test_validate_shows_each_stage_the_events_that_reach_it() -> None:
    shift = UserSmearing(lambda event, normals: {"x": event["x"] + 1}, noise_columns=0)
    efficiency = Efficiency(lambda event: event["x"])
    events, noise = Events(torch.full((1, 4, 1), 0.5), ("x",)), torch.empty(1, 4, 0)
    for outer in (lambda *stages: Detector(stages), lambda *stages: PerChannel({"only": Detector(stages)}, ("only",))):
        outer(efficiency, shift).validate(events, noise, {})
        with pytest.raises(ParameterError, match=r"the first is 1\.5"):
            outer(shift, efficiency).validate(events, noise, {})


def test_moving_a_detector_moves_every_table() -> None:
    chain = Detector(
        tuple(STAGES[name] for name in ("tabulated", "background", "weighted background", "background density", "per channel"))
    )
    moved = chain.to(dtype=torch.float64)
    events, noise = events_and_noise(chain)
    expected, have = (d(events, noise, NUISANCES) for d in (chain, moved))
    assert have.values.dtype == torch.float32
    torch.testing.assert_close(have.values, expected.values)
    for dtype in (torch.float32, torch.float64):
        tabulated, background, *_, per_channel = chain.to(dtype=dtype).stages
        inner = per_channel.detectors["neutron"].stages[0]  # type: ignore[attr-defined]
        assert tabulated.function.values.dtype == dtype  # type: ignore[attr-defined]
        assert background.source.events.values.dtype == dtype  # type: ignore[attr-defined]
        assert inner.source.events.values.dtype == dtype


def test_per_channel_equals_each_detector_alone_whatever_the_order_of_the_mapping() -> None:
    cut, smear = Detector((Cuts({"x": (0.5, None)}), Smearing("y", absolute=1.0))), Detector((Smearing("x", relative=0.2),))
    detectors = {"neutron": cut, "proton": smear}
    both = PerChannel(detectors, ("proton", "neutron"))
    events, noise = events_and_noise(both)
    out = both(events, noise, {})
    for i, channel in enumerate(("proton", "neutron")):
        one = Events(events.values[i : i + 1], events.columns, events.weights_or_ones()[i : i + 1])
        alone = detectors[channel](one, noise[i : i + 1], {})
        assert torch.equal(out.values[i], alone.values[0])
        assert torch.equal(out.weights_or_ones()[i], alone.weights_or_ones()[0])


def test_per_channel_gives_each_channel_its_own_part_of_a_nuisance() -> None:
    background = Detector((Background("f", events=POOL),))
    both = PerChannel({"proton": background, "neutron": background}, ("proton", "neutron"))
    out = both(Events(torch.rand(2, 7, 2), ("x", "y")), torch.rand(2, 7, both.noise_columns), {"f": torch.tensor([[0.1], [0.5]])})
    torch.testing.assert_close(out.weights_or_ones().sum(-1), torch.tensor([7 / 0.9, 7 / 0.5]))


def test_per_channel_without_weights_stays_without_weights() -> None:
    both = PerChannel({"a": Detector(()), "b": Detector((Smearing("x", absolute=0.1),))}, ("a", "b"))
    assert both(Events(torch.rand(2, 3, 1), ("x",)), torch.rand(2, 3, 1), {}).weights is None


def test_per_channel_with_unequal_detectors_is_an_error() -> None:
    events, noise = Events(torch.rand(2, 10, 2), ("x", "y")), torch.rand(2, 10, 1)
    ideal, channels = Detector(()), ("proton", "neutron")
    with pytest.raises(ShapeError, match=r"different numbers of events, \{'proton': 10, 'neutron': 15\}"):
        PerChannel({"proton": ideal, "neutron": Background("f", events=POOL)}, channels)(events, noise, NUISANCES)
    adds = UserSmearing(lambda event, normals: {"s": event["x"]}, noise_columns=0, adds=("s",))
    unequal = PerChannel({"proton": ideal, "neutron": adds}, channels)
    with pytest.raises(ColumnError, match=r"different columns.*'neutron': \['x', 'y', 's'\]"):
        unequal.columns_out(("x", "y"))
    with pytest.raises(ColumnError, match="different columns"):
        unequal(events, noise, {})
    with pytest.raises(SettingsError, match=r"\['proton'\] but the channels are \['proton', 'neutron'\]"):
        PerChannel({"proton": ideal}, channels)
    with pytest.raises(ShapeError, match=r"PerChannel needs events \[..., 2"):
        PerChannel({"proton": ideal, "neutron": ideal}, channels)(Events(torch.rand(3, 10, 2), ("x", "y")), noise, {})
