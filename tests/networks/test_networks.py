"""Networks: replicas are independent, and flat vectors carry everything."""

import pytest
import torch

from unscatter.errors import SettingsError, ShapeError
from unscatter.networks import DirectGenerator, Discriminator, FlatModule, NetworkGenerator, ReplicaLinear, ReplicaMlp, Replicated


def test_replica_linear_equals_one_linear_layer_per_replica() -> None:
    layer, x = ReplicaLinear(3, 4, 2, generator=torch.Generator().manual_seed(1)), torch.randn(3, 5, 4)
    for r in range(3):
        torch.testing.assert_close(layer(x)[r], x[r] @ layer.weight[r] + layer.bias[r])


def test_initial_weights_depend_on_the_generator_alone() -> None:
    def weights() -> torch.Tensor:
        return next(ReplicaMlp(2, (3, 8, 1), generator=torch.Generator().manual_seed(5)).parameters()).detach()

    first = weights()
    torch.manual_seed(99)
    assert torch.equal(first, weights())
    assert not torch.equal(first[0], first[1])


def test_flat_module_returns_what_the_module_returns() -> None:
    module = Discriminator(2, 3, 4, hidden=(8,))
    flat, features = FlatModule(module, 2), torch.randn(2, 3, 10, 4)
    torch.testing.assert_close(flat(flat.initial(), features), module(features))


def test_gradient_of_one_replica_touches_only_its_own_row() -> None:
    flat = FlatModule(Discriminator(3, 2, 4, hidden=(8,)), 3)
    weights = flat.initial().requires_grad_()
    flat(weights, torch.randn(3, 2, 10, 4))[1].sum().backward()
    assert weights.grad is not None
    assert bool((weights.grad[1] != 0).any())
    assert not bool(weights.grad[[0, 2]].any())


def test_unflatten_keeps_replicas_apart_and_order() -> None:
    flat = FlatModule(ReplicaLinear(2, 1, 2), 2)
    named = flat.unflatten(torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]))
    assert named["weight"].tolist() == [[[1, 2]], [[5, 6]]]
    assert named["bias"].tolist() == [[[3, 4]], [[7, 8]]]


def test_replicated_plain_modules_equal_the_modules_one_by_one() -> None:
    modules = [torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)) for _ in range(4)]
    flat, x = FlatModule(Replicated(modules), 4), torch.randn(4, 7, 3)
    result = flat(flat.initial(), x)
    for r, module in enumerate(modules):
        torch.testing.assert_close(result[r], module(x[r]))


def test_replicated_registers_each_weight_once() -> None:
    modules = [torch.nn.Linear(3, 2) for _ in range(4)]
    assert sum(p.numel() for p in Replicated(modules).parameters()) == 4 * (3 * 2 + 2)


def test_module_without_replica_axis_is_refused_by_name() -> None:
    with pytest.raises(ShapeError, match=r"'weight' has the shape \(3, 2\).*2 replicas.*\n.*Replicated"):
        FlatModule(torch.nn.Linear(2, 3), 2)


def test_each_replica_of_a_direct_generator_moves_along_its_own_directions() -> None:
    directions = torch.tensor([[[2.0, 0.0], [1.0, 0.5]], [[1.0, 0.0], [0.0, 3.0]]])
    flat = FlatModule(DirectGenerator(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), directions), 2)
    assert flat(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.empty(2, 1, 0)).tolist() == [[[2.0, 2.0]], [[11.0, 6.0]]]


def test_network_generator_proposes_one_set_per_noise_row() -> None:
    generator = NetworkGenerator(torch.zeros(2, 5), noise_size=3, generator=torch.Generator().manual_seed(0))
    proposed = generator(torch.randn(2, 50, 3))
    assert proposed.shape == (2, 50, 5)
    assert bool((proposed.std(1) > 0).all())


def test_unknown_activation_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(SettingsError, match=r"no activation 'swish'.*'silu'"):
        ReplicaMlp(1, (2, 1), activation="swish")


def test_initial_weights_fill_plus_minus_one_over_the_root_of_the_inputs() -> None:
    layer = ReplicaLinear(2, 25, 400, generator=torch.Generator().manual_seed(0))
    for parameter in (layer.weight, layer.bias):
        assert float(parameter.detach().abs().max()) == pytest.approx(0.2, rel=0.01)
    # The standard deviation of a uniform number is its half-width over the root of three.
    assert float(layer.weight.detach().std()) == pytest.approx(0.2 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("activation", ["silu", "gelu", "tanh", "leaky-relu", "softplus"])
def test_no_activation_follows_the_last_layer(activation: str) -> None:
    network = ReplicaMlp(1, (2, 1), activation=activation, generator=torch.Generator().manual_seed(0))
    x = torch.randn(1, 50, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(2 * x) - network(x), network(x) - network(0 * x))


def test_network_generator_proposes_about_its_start() -> None:
    start = torch.tensor([[5.0, -3.0]])
    generator, shifted = (NetworkGenerator(s, generator=torch.Generator().manual_seed(0)) for s in (start, 0 * start))
    noise = torch.randn(1, 20, 6)
    torch.testing.assert_close(generator(noise) - shifted(noise), start.unsqueeze(1).expand(1, 20, 2))
