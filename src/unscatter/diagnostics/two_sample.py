"""Can a freshly trained discriminator tell measured from synthetic events?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unscatter.arrays import Events, RandomStream
from unscatter.diagnostics.comparison import check_pair
from unscatter.errors import EventsError, SettingsError
from unscatter.networks import FlatModule, ReplicaMlp, adam_init, adam_step

#: Fewer events on either side say nothing.
MIN_EVENTS = 40
_LEARNING_RATE = 3e-3
#: How often the network is judged on the validation slice during training.
_CHECKPOINTS = 20
#: Share of the training events that only choose when to stop.
_VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class TwoSampleResult:
    """What the discriminator achieved on events that it never saw.

    Args:
        auc: area under the curve: the probability that it scores a measured event above a synthetic one; 0.5 if it learnt nothing.
        auc_error: standard error of ``auc``.
        accuracy: share of correct verdicts, mean of both classes.
        accuracy_error: binomial standard error of ``accuracy``.
        p_value: probability of such an ``auc`` or a larger one if both samples come from the same distribution.
        level: samples with a p-value below it count as different.
        num_measured: measured events on which it was judged.
        num_synthetic: synthetic events on which it was judged.
    """

    auc: float
    auc_error: float
    accuracy: float
    accuracy_error: float
    p_value: float
    level: float
    num_measured: int
    num_synthetic: int

    @property
    def passes(self) -> bool:
        """Nothing tells the samples apart at the stated level."""
        return self.p_value >= self.level

    @property
    def significance(self) -> float:
        """Distance of ``auc`` from 0.5 in standard errors."""
        return (self.auc - 0.5) / self.auc_error if self.auc_error > 0 else 0.0

    def __str__(self) -> str:
        return f"AUC {self.auc:.4f} +- {self.auc_error:.4f}, p = {self.p_value:.2g}: {'passed' if self.passes else 'failed'}"


def two_sample_test(
    measured: Events,
    synthetic: Events,
    *,
    training: Events | None = None,
    seed: int = 0,
    level: float = 0.01,
    hidden: Sequence[int] = (32, 32),
    num_steps: int = 500,
    batch: int = 2048,
    judged: float = 0.5,
) -> TwoSampleResult:
    r"""Train a discriminator from scratch and judge it on events that it never saw.

    Columns become normal scores of the pooled training events, so that neither unit nor tails matter, and are whitened.  Training
    maximises the logistic likelihood with both samples weighted equally; the network that did best on a validation slice is judged on
    the rest by

    .. math:: \mathrm{AUC} = \frac{\sum_{ij} w_i v_j \left[1(s_i > s_j) + \tfrac12 1(s_i = s_j)\right]}{\sum_i w_i \sum_j v_j},

    whose error is DeLong's.  Independent of the network's quality the p-value is uniform if both samples come from the same distribution.

    Args:
        measured: held-out measured events that no fit has seen, ``[n, columns]``, weights allowed.
        synthetic: fresh synthetic events, ``[m, columns]``, weights allowed.
        training: other measured events, ``[k, columns]``, to train on, so that all of ``measured`` judges; the fit may have seen them.
        seed: splits, initial weights and batches.
        level: p-value below which the samples count as different.
        hidden: columns of the hidden layers.
        num_steps: steps of Adam.
        batch: events of each sample per step.
        judged: share of the events that judge; the others train.

    Raises:
        ShapeError: the columns differ, or the events have leading axes.
        EventsError: fewer than 40 events on one side, or unusable ones.
        SettingsError: ``judged`` or ``level`` is not between zero and one.

    References:
        - D. Lopez-Paz, M. Oquab, Revisiting classifier two-sample tests, ICLR 2017, arXiv:1610.06545.
        - E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988) 837, for the error of the area.

    Example:
        >>> normal = lambda mean, seed: Events(mean + torch.randn(2000, 1, generator=torch.Generator().manual_seed(seed)), ("x",))
        >>> two_sample_test(normal(0.0, 1), normal(1.0, 2), num_steps=100).passes
        False
    """
    _check(measured, synthetic, judged, level)
    stream = RandomStream(seed, ("two-sample",))
    synthetic_pair = _split(synthetic.select(measured.columns), stream.generator("split", 1), judged)
    if training is None:
        pairs = [_split(measured, stream.generator("split", 0), judged), synthetic_pair]
    else:
        _check(training, synthetic, judged, level)
        # Data may come sorted, and a part of the training events only chooses when to stop.
        order = torch.randperm(training.num_events, generator=stream.generator("order"))
        pairs = [(_rows(training.select(measured.columns), order), measured), synthetic_pair]
    scores = _NormalScores.fit(torch.cat([train.values for train, _ in pairs]))
    learning = [_Sample(scores(train.values), train.weights_or_ones()) for train, _ in pairs]
    judging = [_Sample(scores(test.values), test.weights_or_ones()) for _, test in pairs]
    score = _train(learning[0], learning[1], stream, tuple(hidden), num_steps, batch)
    with torch.no_grad():
        verdicts = [score(sample.features).double() for sample in judging]
    return _judge(verdicts[0], verdicts[1], judging[0].weights.double(), judging[1].weights.double(), level)


def area_under_curve(
    positive: Float[Tensor, " n"],
    negative: Float[Tensor, " m"],
    positive_weights: Float[Tensor, " n"],
    negative_weights: Float[Tensor, " m"],
) -> tuple[float, float]:
    r"""Weighted area under the receiver operating characteristic and its standard error after DeLong.

    With placements :math:`V_i` (weighted share of negative scores below :math:`s_i`) the variance is
    :math:`\sum_i w_i^2 (V_i - \mathrm{AUC})^2 / (\sum_i w_i)^2` plus the same with both samples exchanged.

    Example:
        >>> ones = torch.ones(2)
        >>> area_under_curve(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]), ones, ones)[0]
        0.75
    """
    above = _placements(positive, negative, negative_weights)
    below = 1 - _placements(negative, positive, positive_weights)
    area = float((positive_weights * above).sum() / positive_weights.sum())
    variance = 0.0
    for weights, placements in ((positive_weights, above), (negative_weights, below)):
        variance += float((weights.square() * (placements - area).square()).sum() / weights.sum().square())
    return area, math.sqrt(variance)


def combined_p_value(p_values: Iterable[float]) -> float:
    r"""One p-value for independent tests, by Fisher's method.

    :math:`-2 \sum_c \ln p_c` follows :math:`\chi^2_{2C}`, whose survival function is :math:`e^{-x/2} \sum_{k<C} (x/2)^k / k!`.

    References:
        R. A. Fisher, Statistical Methods for Research Workers (1925), 21.1.

    Example:
        >>> combined_p_value([0.3])
        0.3
    """
    logarithms = [math.log(max(p, 1e-300)) for p in p_values]
    if not logarithms:
        raise SettingsError("there is no p-value to combine.")
    half = -sum(logarithms)
    if len(logarithms) == 1:
        return math.exp(-half) if half < 690 else 0.0
    return min(
        1.0,
        math.fsum(math.exp(k * math.log(half) - math.lgamma(k + 1) - half) if half > 0 else float(k == 0) for k in range(len(logarithms))),
    )


def _check(measured: Events, synthetic: Events, judged: float, level: float) -> None:
    check_pair(measured, synthetic)
    for label, events in (("measured", measured), ("synthetic", synthetic)):
        if events.num_events < MIN_EVENTS:
            raise EventsError(f"a two-sample test needs at least {MIN_EVENTS} {label} events, got {events.num_events}.")
    for label, value in (("judged", judged), ("level", level)):
        if not 0 < value < 1:
            raise SettingsError(f"'{label}' must lie between zero and one, got {value:g}.")


def _split(events: Events, generator: torch.Generator, judged: float) -> tuple[Events, Events]:
    order = torch.randperm(events.num_events, generator=generator)
    cut = events.num_events - round(judged * events.num_events)
    return _rows(events, order[:cut]), _rows(events, order[cut:])


def _rows(events: Events, rows: Tensor) -> Events:
    return Events(events.values.detach().double().cpu()[rows], events.columns, events.weights_or_ones().detach().double().cpu()[rows])


@dataclass(frozen=True, eq=False)
class _Sample:
    """Features ``[n, features]`` in single precision and weights ``[n]``."""

    features: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class _NormalScores:
    """Ranks among the training events as standard normal numbers, whitened."""

    ordered: Tensor
    whitening: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> _NormalScores:
        ordered = values.sort(0).values.T.contiguous()
        scores = _ranks_to_normal(ordered, values)
        eigenvalues, vectors = torch.linalg.eigh(scores.T @ scores / len(scores))
        return cls(ordered, vectors / eigenvalues.clamp_min(1e-4).sqrt())

    def __call__(self, values: Tensor) -> Tensor:
        return (_ranks_to_normal(self.ordered, values) @ self.whitening).float()


def _ranks_to_normal(ordered: Tensor, values: Tensor) -> Tensor:
    columns = values.T.contiguous()
    below, up_to = torch.searchsorted(ordered, columns), torch.searchsorted(ordered, columns, right=True)
    size = ordered.shape[1]
    return torch.special.ndtri(((below + up_to) / 2 + 0.5).clamp(0.5, size + 0.5) / (size + 1)).double().T


def _train(
    measured: _Sample, synthetic: _Sample, stream: RandomStream, hidden: tuple[int, ...], num_steps: int, batch: int
) -> Callable[[Tensor], Tensor]:
    """The network of the training step that did best on the validation slice, ``[n, features]`` to scores ``[n]``."""
    (measured, measured_slice), (synthetic, synthetic_slice) = (_hold_out(sample) for sample in (measured, synthetic))
    network = FlatModule(ReplicaMlp(1, (measured.features.shape[1], *hidden, 1), generator=stream.generator("network")), 1)
    generator = stream.generator("batches")
    weights = network.initial()
    moments = adam_init(weights)
    best, best_loss = weights, math.inf
    for step in range(1, num_steps + 1):
        weights = weights.requires_grad_()
        loss = _logistic_loss(partial(_score, network, weights), _draw(measured, batch, generator), _draw(synthetic, batch, generator))
        (gradient,) = torch.autograd.grad(loss, weights)
        rate = _LEARNING_RATE * math.cos(math.pi / 2 * (step - 1) / num_steps) ** 2
        moments, weights, _ = adam_step(moments, weights.detach(), gradient, learning_rate=rate, beta1=0.9, beta2=0.999, clip_norm=10.0)
        if step % max(1, num_steps // _CHECKPOINTS) == 0 or step == num_steps:
            with torch.no_grad():
                validation = float(_logistic_loss(partial(_score, network, weights), measured_slice, synthetic_slice))
            if validation < best_loss:
                best, best_loss = weights, validation
    return partial(_score, network, best)


def _score(network: FlatModule, weights: Tensor, features: Tensor) -> Tensor:
    return network(weights, features.unsqueeze(0)).flatten()


def _hold_out(sample: _Sample) -> tuple[_Sample, _Sample]:
    cut = len(sample.weights) - max(1, round(_VALIDATION_SHARE * len(sample.weights)))
    return _Sample(sample.features[:cut], sample.weights[:cut]), _Sample(sample.features[cut:], sample.weights[cut:])


def _draw(sample: _Sample, batch: int, generator: torch.Generator) -> _Sample:
    rows = torch.randint(len(sample.weights), (min(batch, len(sample.weights)),), generator=generator)
    return _Sample(sample.features[rows], sample.weights[rows])


def _logistic_loss(score: Callable[[Tensor], Tensor], measured: _Sample, synthetic: _Sample) -> Tensor:
    terms = [
        (sample.weights * functional.softplus(sign * score(sample.features))).sum() / sample.weights.sum()
        for sign, sample in ((-1, measured), (1, synthetic))
    ]
    return terms[0] + terms[1]


def _placements(scores: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """Weighted share of ``others`` below each score, ties by half."""
    ordered, index = others.sort()
    cumulative = functional.pad(weights[index].cumsum(0), (1, 0))
    below = cumulative[torch.searchsorted(ordered, scores)] + cumulative[torch.searchsorted(ordered, scores, right=True)]
    return below / (2 * cumulative[-1])


def _judge(measured: Tensor, synthetic: Tensor, measured_weights: Tensor, synthetic_weights: Tensor, level: float) -> TwoSampleResult:
    auc, error = area_under_curve(measured, synthetic, measured_weights, synthetic_weights)
    right = (measured > 0).double(), (synthetic <= 0).double()
    shares, variances = [], []
    for correct, weights in zip(right, (measured_weights, synthetic_weights), strict=True):
        share = float((weights * correct).sum() / weights.sum())
        shares.append(share)
        variances.append(share * (1 - share) * float(weights.square().sum() / weights.sum().square()))
    # Without any spread of the scores there is nothing to tell (0.5), or nothing left to doubt.
    significance = (auc - 0.5) / error if error > 0 else (math.inf if auc > 0.5 else 0.0)
    return TwoSampleResult(
        auc=auc,
        auc_error=error,
        accuracy=sum(shares) / 2,
        accuracy_error=math.sqrt(sum(variances)) / 2,
        p_value=0.5 * math.erfc(significance / math.sqrt(2)),
        level=level,
        num_measured=len(measured),
        num_synthetic=len(synthetic),
    )
