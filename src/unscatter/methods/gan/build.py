"""From a problem, events and settings to the networks and constants of a fit."""

from __future__ import annotations

from dataclasses import replace

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
from unscatter.pipeline import Problem, fisher_information, jacobian

#: Measured events that the feature transform is fitted on.
_FEATURE_EVENTS = 50_000
#: Simulated events behind the directions of a preconditioned fit.
_DIRECTION_EVENTS = 50_000
#: Information that a latent number is taken to have by itself: it bounds a unit step along any direction to about 3 in the latent space,
#: a third of an interval, where a step's events tell next to nothing.
_LATENT_INFORMATION = 0.1


def build_static(
    problem: Problem,
    events: EventSource,
    settings: GanSettings,
    rng: RandomStream,
    *,
    num_steps: int,
    exchange: Exchange | None,
    device: torch.device | str,
) -> GanStatic:
    """Put together what does not change during a fit, with everything that a step touches on the device.

    A source of events that can be moved stays there; what is computed once, here and when the fit is judged, is computed on the CPU.

    Raises:
        SettingsError: channels or columns of the events are not those of the problem, or rates are asked for where there are none.
    """
    _check_events(problem, events)
    device = torch.device(device)
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
    generator = _build_generator(problem, events, settings, rng, use_rates)
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
        rng=rng,
        num_steps=num_steps,
        exchange=NoExchange() if exchange is None else exchange,
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


def _build_generator(problem: Problem, events: EventSource, settings: GanSettings, rng: RandomStream, use_rates: bool) -> Generator:
    start = replica_starts(problem, events.num_replicas, rng)
    chosen = settings.generator
    if chosen.kind == "network":
        return NetworkGenerator(start, noise_size=chosen.noise_size, hidden=chosen.hidden, generator=rng.generator("generator"))
    if not chosen.precondition:
        return DirectGenerator(start)
    return DirectGenerator(start, equal_directions(problem, settings.num_events, events.effective_counts, use_rates).float())


def replica_starts(problem: Problem, num_replicas: int, rng: RandomStream) -> Tensor:
    """Latent point that each replica starts from and is drawn to by the prior, ``[replica, latent_size]``.

    Where there is a prior, the replicas of an ensemble have draws of it: what the events do not determine then varies from replica to
    replica as much as the prior allows, while a single fit has its centre.
    """
    start = problem.start_latent.float().expand(num_replicas, -1).clone()
    if problem.prior_width is None or num_replicas == 1:
        return start
    return start + problem.prior_width * torch.randn(start.shape, generator=rng.generator("prior"))


def equal_directions(problem: Problem, num_events: int, counts: Tensor, use_rates: bool) -> Tensor:
    r"""Directions of the latent space along which one step's events determine the parameters equally well.

    .. math:: A = V (\Lambda + \kappa)^{-1/2}, \qquad n F_\ell = V \Lambda V^T, \quad F_\ell = J^T F J, \quad J = \partial p / \partial \ell

    with the information :math:`F` per event at the start, averaged over channels in proportion to their counts.  A unit step along any
    column is one standard deviation of what :math:`n` events can tell; :math:`\kappa` bounds the step where they tell little.  The columns
    are eigenvectors, so that Adam scales weakly and strongly determined directions separately.

    Args:
        problem: any problem.
        num_events: :math:`n`.
        counts: observed events per channel, ``[channel]``.
        use_rates: whether numbers of events are fitted too.

    Returns:
        :math:`A`, ``[latent_size, latent_size]``.
    """
    latent = problem.start_latent
    _, by_latent = jacobian(problem.space.to_parameters, latent)
    information = fisher_information(problem, problem.space.to_parameters(latent), num_events=_DIRECTION_EVENTS)
    per_event = information.total(counts / counts.mean(), rates=use_rates)
    curvature = num_events * (by_latent.T @ per_event @ by_latent)
    eigenvalues, vectors = torch.linalg.eigh((curvature + curvature.T) / 2)
    return vectors * (eigenvalues.clamp_min(0) + _LATENT_INFORMATION).rsqrt()
