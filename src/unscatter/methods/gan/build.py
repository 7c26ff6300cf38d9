"""From a problem, events and settings to the networks and constants of a fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unscatter.arrays import RandomStream
from unscatter.errors import SettingsError
from unscatter.events import EventSource, MovableSource
from unscatter.exchange import Exchange, NoExchange
from unscatter.methods.gan.features import Features
from unscatter.methods.gan.settings import GanSettings
from unscatter.methods.gan.state import GanStatic
from unscatter.networks import DirectGenerator, Discriminator, FlatModule, Generator, NetworkGenerator
from unscatter.pipeline import Problem, fisher_information, latent_information

#: Measured events that the feature transform is fitted on.
_FEATURE_EVENTS = 50_000
#: Simulated events behind the directions of a preconditioned fit.
_DIRECTION_EVENTS = 50_000
#: Information that a latent number is taken to have by itself: it bounds a unit step along any direction to about 3 in the latent space,
#: a third of an interval, where a step's events tell next to nothing.
_LATENT_INFORMATION = 0.1
#: What is known of a latent number without a prior where steps shrink with the gradient: a standard deviation of a tenth of an interval.
_UNKNOWN_INFORMATION = 1.0
#: Smallest part of it for the events of one step: it bounds a unit step along any direction to the width of an interval.
_LEAST_INFORMATION = 1e-2


def build_static(
    problem: Problem,
    events: EventSource,
    settings: GanSettings,
    rng: RandomStream,
    *,
    num_steps: int,
    exchange: Exchange | None,
    device: torch.device | str,
    fitted_start: bool = False,
) -> GanStatic:
    """Put together what does not change during a fit, with everything that a step touches on the device.

    A source of events that can be moved stays there; what is computed once, here and when the fit is judged, is computed on the CPU.

    Raises:
        SettingsError: channels or columns of the events are not those of the problem, or rates are asked for where there are none.
    """
    _check_events(problem, events)
    device = torch.device(device)
    exchange = NoExchange() if exchange is None else exchange
    if exchange.num_ranks > 1:
        # What ranks must have alike they get from the first one.
        rng = rng.child("rank", exchange.rank)
    use_rates = wants_rates(problem, settings)
    replicas, channels = events.num_replicas, len(problem.channels)
    features = Features.fit(events.sample(_FEATURE_EVENTS).select(problem.observables), settings.discriminator.logarithms)
    discriminator = Discriminator(
        replicas,
        channels,
        features.num_features,
        hidden=settings.discriminator.hidden,
        activation=settings.discriminator.activation,
        generator=rng.generator("discriminator"),
    )
    starts = replica_starts(problem, events, settings, rng, use_rates, num_ranks=exchange.num_ranks)
    generator = _build_generator(problem, starts, settings, rng)
    if isinstance(events, MovableSource):
        events.move_to(device)
    return GanStatic(
        problem=_placed(problem, device),
        generator=FlatModule(generator.to(device), replicas),
        discriminator=FlatModule(discriminator.to(device), replicas),
        features=features.to(device),
        observed_counts=events.counts.to(device, torch.float32),
        exposure=events.exposure,
        use_rates=use_rates,
        prior_centres=None if starts.prior_centres is None else starts.prior_centres.to(device),
        rng=rng,
        num_steps=num_steps,
        fitted_start=fitted_start,
        exchange=exchange,
        device=device,
    )


def _placed(problem: Problem, device: torch.device) -> Problem:
    """The problem with the detector's tables and background events on the device; theories follow their parameters by themselves."""
    # Their precision stays: a table whose nodes lie closer than single precision can tell is still a table.
    detector = problem.pipeline.detector.to(device)
    return replace(problem, pipeline=replace(problem.pipeline, detector=detector))


def wants_rates(problem: Problem, settings: GanSettings) -> bool:
    """Whether the numbers of events are fitted.

    Raises:
        SettingsError: they are asked for, but the theory has no luminosity.
    """
    has_rates = problem.density(_start_parameters(problem)).expected_counts is not None
    if settings.rates == "on" and not has_rates:
        raise SettingsError(
            f"rates are 'on', but the theory of problem '{problem.name}' gives no expected counts.\n"
            "Give the theory a luminosity, or set rates to 'off'."
        )
    return has_rates and settings.rates != "off"


def _start_parameters(problem: Problem) -> Tensor:
    return problem.space.to_parameters(problem.start_latent)


def _check_events(problem: Problem, events: EventSource) -> None:
    if events.channels != problem.channels:
        raise SettingsError(
            f"problem '{problem.name}' has the channels {list(problem.channels)}, but the events have {list(events.channels)}."
        )
    missing = [name for name in problem.observables if name not in events.columns]
    if missing:
        raise SettingsError(f"problem '{problem.name}' compares the columns {list(problem.observables)}, but the events lack {missing}.")


def _build_generator(problem: Problem, starts: Starts, settings: GanSettings, rng: RandomStream) -> Generator:
    chosen = settings.generator
    if chosen.kind == "network":
        return NetworkGenerator(starts.latent, noise_size=chosen.noise_size, hidden=chosen.hidden, generator=rng.generator("generator"))
    if not chosen.precondition:
        return DirectGenerator(starts.latent)
    assert starts.curvature is not None
    floor = _LATENT_INFORMATION if chosen.approach is None else starts.floor(settings.num_events)
    directions = equal_directions(settings.num_events * starts.curvature, floor)
    return DirectGenerator(starts.latent, directions.float())


@dataclass(frozen=True, eq=False)
class Starts:
    """Where replicas begin.

    Args:
        latent: starting points, ``[replica, latent_size]``.
        prior_centres: points that the prior draws them to, of the same shape, or None without a prior.
        curvature: information of one event per channel about the latent numbers at each starting point,
            ``[replica, latent_size, latent_size]``, float64; None where nothing needs it.
        counts: events per channel and replica, mean; those of all ranks together.
        prior_information: about each latent number; that of a tenth of an interval without a prior.
    """

    latent: Tensor
    prior_centres: Tensor | None
    curvature: Tensor | None
    counts: float
    prior_information: float

    def floor(self, num_events: int) -> float:
        """What is known of a latent number without the events, as much of it as ``num_events`` of them stand for."""
        return max(self.prior_information * num_events / self.counts, _LEAST_INFORMATION)


def replica_starts(
    problem: Problem, events: EventSource, settings: GanSettings, rng: RandomStream, use_rates: bool, *, num_ranks: int = 1
) -> Starts:
    r"""Starting points and prior centres of the replicas.

    A single fit has the centre of the prior.  The replicas of an ensemble have draws :math:`\ell_r` of it, whose mean is that centre
    whatever their number, and start where the posterior around the start :math:`\ell_0` would be with that centre: at :math:`\ell(1)` of

    .. math:: \frac{d\ell}{ds} = C(\ell)\,\frac{\ell_r - \bar\ell}{\sigma^2}, \qquad \ell(0) = \ell_0, \qquad
        C(\ell) = \left(N F_\ell(\ell) + \sigma^{-2}\right)^{-1}

    What the events do not determine varies from replica to replica as much as the prior allows, and the rest is left to the events.  A
    straight step with :math:`C(\ell_0)` would leave the curved valley of what the events determine far behind.  Along that valley the
    direction that the events determine best turns, so that each replica has the information at its own starting point: with that at
    :math:`\ell_0` its steps along weakly determined directions would throw it out of the valley.  With several ranks N counts the events
    of all, of which each has its shard.
    """
    replicas, width = events.num_replicas, problem.prior_width
    start, observed = problem.start_latent, events.effective_counts
    ensemble = width is not None and replicas > 1
    preconditioned = settings.generator.kind == "direct" and settings.generator.precondition
    curvature = latent_curvature(problem, start, observed, use_rates) if ensemble or preconditioned else None
    alike = None if curvature is None else curvature.expand(replicas, -1, -1)
    latent, counts = start.expand(replicas, -1), num_ranks * float(events.counts.double().mean())
    if width is None:
        return Starts(latent.float().clone(), None, alike, counts, _UNKNOWN_INFORMATION)
    centre, known = problem.prior_latent, width**-2
    if not ensemble:
        return Starts(latent.float().clone(), centre.float().expand(replicas, -1).clone(), alike, counts, known)
    shifts = width * _balanced(torch.randn(latent.shape, generator=rng.generator("prior"), dtype=torch.float64))
    assert curvature is not None
    latent = torch.stack([_moved_with_the_prior(problem, shift, curvature, counts, observed, use_rates) for shift in shifts])
    curvatures = torch.stack([latent_curvature(problem, point, observed, use_rates) for point in latent]) if preconditioned else None
    return Starts(latent.float(), (centre + shifts).float(), curvatures, counts, known)


def _moved_with_the_prior(problem: Problem, shift: Tensor, curvature: Tensor, counts: float, observed: Tensor, use_rates: bool) -> Tensor:
    """Where the start goes when the prior's centre moves by a shift: one step of Runge and Kutta of the fourth order."""
    assert problem.prior_width is not None
    known = problem.prior_width**-2

    def pull(there: Tensor) -> Tensor:
        return torch.linalg.solve(counts * there + torch.eye(len(shift), dtype=torch.float64) * known, shift) * known

    def pull_at(latent: Tensor) -> Tensor:
        return pull(latent_curvature(problem, latent, observed, use_rates))

    start = problem.start_latent
    first = pull(curvature)
    second = pull_at(start + first / 2)
    third = pull_at(start + second / 2)
    return start + (first + 2 * second + 2 * third + pull_at(start + third)) / 6


def _balanced(draws: Tensor) -> Tensor:
    """Draws whose mean over the first axis is zero and whose variance is what it was: few replicas must not move their mean."""
    number = len(draws)
    return (draws - draws.mean(0)) * (number / (number - 1)) ** 0.5


def latent_curvature(problem: Problem, latent: Tensor, counts: Tensor, use_rates: bool) -> Tensor:
    r"""Information of events about the latent numbers, :math:`F_\ell = J^T F J` with :math:`J = \partial p / \partial \ell`.

    Args:
        problem: any problem.
        latent: where, ``[latent_size]``.
        counts: observed events per channel, ``[channel]``, which give channels their weights; the result is for one event
            in each on average.
        use_rates: whether numbers of events are fitted too.

    Returns:
        ``[latent_size, latent_size]``, float64.
    """
    information = fisher_information(problem, problem.space.to_parameters(latent), num_events=_DIRECTION_EVENTS)
    return latent_information(problem.space, latent, information.total(counts / counts.mean(), rates=use_rates))[1]


def equal_directions(curvature: Tensor, floor: float) -> Tensor:
    r"""Directions of the latent space along which one step's events determine the parameters equally well.

    .. math:: A = V (\Lambda + \kappa)^{-1/2}, \qquad n F_\ell = V \Lambda V^T

    A unit step along any column is one standard deviation of what :math:`n` events can tell; :math:`\kappa` bounds the step where they
    tell little.  With :math:`\kappa = n / (N \sigma^2)`, the share of the prior that belongs to :math:`n` of all :math:`N` events, the loss
    with the prior is equally steep along all columns near its minimum: weakly and strongly determined directions come to rest together.

    Args:
        curvature: information :math:`n F_\ell` of the events of a step about the latent numbers, ``[..., latent_size, latent_size]``, see
            :func:`latent_curvature`.
        floor: :math:`\kappa`.

    Returns:
        :math:`A`, of the same shape.
    """
    eigenvalues, vectors = torch.linalg.eigh(curvature)
    return vectors * (eigenvalues.clamp_min(0) + floor).rsqrt().unsqueeze(-2)
