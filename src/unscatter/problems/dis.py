"""Parton densities from deep-inelastic events."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unscatter.arrays import Events
from unscatter.detectors import Cuts, Detector, DisKinematics, ElectronReconstruction, Ranges, electron_detector
from unscatter.errors import ColumnError, SettingsError
from unscatter.events import keep_inside
from unscatter.pdfs import Functional, PdfParametrisation
from unscatter.pipeline import Bijection, Box, ParameterSpace, Pipeline, Problem, Simplex
from unscatter.problems.dis_beams import COLUMNS, beam_inspection
from unscatter.problems.dis_curves import hera_measurement, parton_curves
from unscatter.samplers import Rosenblatt, Sampler
from unscatter.theories.dis import Beams, DisChannel, DisTables, DisTheory, dis_grid, load_tables

#: Columns that follow from Q2 and y however these were measured, and those that do where the electron alone told them.
_OF_EVENT, _OF_ELECTRON = ("x", "W2"), ("electron_energy", "electron_theta")
#: Standard deviation of the prior in the latent space, where an interval is ten units wide: a fifth of every parameter's range.
_PRIOR_WIDTH = 2.0
#: Half the allowed range of a channel's normalisation in luminosity errors: in the latent space, where intervals are linear over ten
#: units, the prior is then Gaussian with just that error.
_NORM_RANGE = 5.0 / _PRIOR_WIDTH
#: What pseudo-data are made with: about what the functional form gives for PYTHIA events with NNPDF3.1 at leading order.
_PSEUDO_DATA_TRUTH = (
    *(0.51, 3.5, 3.4, 2.1, 0.54, 4.1, 2.8),  # uv, dv
    *(-0.04, 6.5, 0.25, 0.75, -0.17, 6.5, 0.34, 3.5, -0.13, 6.2, 0.18, 5.1),  # g, ubar, dbar
    *(0.16, 0.03, 0.69, 0.12, 0.19),  # strange, charm, fractions
)


def dis(
    channels: Sequence[DisChannel],
    *,
    tables: DisTables | str | Path = "lo",
    parametrisation: PdfParametrisation | None = None,
    luminosity_errors: Mapping[str, float] | None = None,
    Q2_range: tuple[float, float] = (10.0, 9000.0),
    y_range: tuple[float, float] = (0.01, 0.95),
    nodes: tuple[int, int] = (97, 49),
    detector: Detector | str = "ideal",
    ranges: Ranges | None = None,
    background: float | None = None,
    reconstruction: str = "electron",
    observables: tuple[str, ...] = COLUMNS,
    measurements: Sequence[str] = (),
    sampler: Sampler | None = None,
) -> Problem:
    """Parton densities at the starting scale from events of one or several targets, leptons and currents.

    Args:
        channels: measured data sets; shapes and numbers of events both count.
        tables: theory tables, or the name of shipped ones, or their file.
        parametrisation: of the densities; :class:`~unscatter.pdfs.Functional` when None.
        luminosity_errors: relative error of the luminosity per channel; the normalisations of those named float within it.
        Q2_range: true Q2 in GeV2 of the events that the theory makes.
        y_range: true y of these.  With an ideal detector both are cuts on the data as well; with a real one they must reach far enough
            beyond the cuts of the detector for everything that can migrate in.
        nodes: of the grid in Q2 and y.
        detector: a preset of :func:`~unscatter.detectors.electron_detector`, or a detector of one's own from ``("Q2", "y")`` to at least
            the observables.
        ranges: cuts on measured columns beside those of the preset, applied to synthetic and measured events alike.
        background: fraction of fake electrons in a preset.
        reconstruction: how a preset makes x, Q2 and y of electron and hadrons, see :class:`~unscatter.detectors.Hadrons`; measured events
            must have been reconstructed in the same way.
        observables: columns that are compared.
        measurements: sets of HERA's combined data, see :func:`~unscatter.theories.dis.hera.load_hera`, that the result is compared with
            above Q2 = 10 GeV2; they are not fitted.
        sampler: exact unless given, with the points of a Sobol sequence.

    Raises:
        SettingsError: channels and luminosity errors do not fit together, or a detector of one's own stands beside settings of presets.
        TableError: the tables do not cover the ranges.

    Example:
        >>> proton = DisChannel(name="proton", target="proton", beams=Beams(18.0, 275.0), luminosity_inv_pb=4.1, exchange="photon")
        >>> problem = dis([proton], nodes=(13, 9))
        >>> problem.space.names[:3]
        ('uv_b', 'uv_c', 'uv_d')
    """
    errors = dict(luminosity_errors or {})
    form = Functional() if parametrisation is None else parametrisation
    _check_errors(errors, channels)
    theory = DisTheory(
        parametrisation=form,
        tables=tables if isinstance(tables, DisTables) else load_tables(tables),
        data_sets=tuple(channels),
        grid=dis_grid(Q2_range, y_range, nodes),
        free_norms=tuple(errors),
    )
    beams = _common_beams(channels)
    if isinstance(detector, Detector) and (ranges is not None or background is not None or reconstruction != "electron"):
        raise SettingsError(
            "'ranges', 'background' and 'reconstruction' belong to the presets; a detector of one's own has its own: "
            "electron_detector('eic-like', beams, ranges=..., reconstruction=...)."
        )
    own = (
        detector
        if isinstance(detector, Detector)
        else electron_detector(detector, beams, ranges=ranges, background=background, reconstruction=reconstruction)
    )
    truth_ranges = {"Q2": Q2_range, "y": y_range}
    cuts: list[Ranges] = [stage.ranges for stage in own.stages if isinstance(stage, Cuts)]
    if detector == "ideal":
        cuts.append(truth_ranges)
    else:
        _warn_of_migration(cuts, truth_ranges)
    names = ", ".join(channel.name for channel in channels)
    return Problem(
        curves=parton_curves(theory),
        measurements=tuple(hera_measurement(theory, name) for name in measurements),
        name="dis",
        space=_space(form, errors),
        pipeline=Pipeline(theory, own, sampler or Rosenblatt(points="sobol")),
        observables=observables,
        truth=(*_PSEUDO_DATA_TRUTH, *(1.0 for _ in errors)) if form == Functional() else None,
        start=(*form.start, *(1.0 for _ in errors)),
        prior_width=_PRIOR_WIDTH,
        description=f"parton densities ({form.name}) from deep-inelastic events: {names}",
        preparation=MeasuredElectrons(beams, cuts, _derived(own)),
        inspection=beam_inspection(beams),
        needs=_needs(own, cuts),
    )


def _warn_of_migration(cuts: Sequence[Ranges], truth: Mapping[str, tuple[float, float]]) -> None:
    """A resolution carries events over the lower ends of the theory, where most of them are."""
    for name, (low, _) in truth.items():
        ends = [ranges[name][0] for ranges in cuts if name in ranges]
        measured = max((end for end in ends if end is not None), default=None)
        if measured is None or measured <= low:
            seen = "not cut" if measured is None else f"cut at {measured:g}"
            warnings.warn(
                f"measured '{name}' is {seen}, but the theory makes events above {low:g} only: those that the resolution carries in from "
                f"below are missing.\nGive the theory a lower {name}_range, or cut higher: ranges={{'{name}': ({1.2 * low:g}, None)}}. "
                "Nothing is missing where the data themselves end there, as generated events may.",
                stacklevel=3,
            )


def _derived(detector: Detector) -> tuple[str, ...]:
    """Columns that follow from measured Q2 and y: those of the electron only where nothing else has made these."""
    hadrons = [stage.hadrons for stage in detector.stages if isinstance(stage, ElectronReconstruction)]
    mixed = any(used is not None and used.method != "electron" for used in hadrons)
    return _OF_EVENT if mixed else _OF_EVENT + _OF_ELECTRON


def _needs(detector: Detector, cuts: Sequence[Ranges]) -> tuple[str, ...]:
    """What measured events must bring along for the cuts, because it follows from nothing else."""
    known = ("Q2", "y", *_derived(detector))
    return tuple(dict.fromkeys(name for ranges in cuts for name in ranges if name not in known))


@dataclass(frozen=True)
class MeasuredElectrons:
    """What measured events go through before they are compared: the cuts that synthetic events undergo.

    Args:
        beams: of the problem.
        cuts: ranges of measured columns; all of them must hold.
        derived: columns that are computed from Q2 and y where the events do not have them.

    Example:
        >>> import torch
        >>> keep = MeasuredElectrons(Beams(18.0, 275.0), ({"y": (0.1, None)},))
        >>> events = Events(torch.tensor([[0.01, 99.0, 0.5], [0.1, 19.8, 0.01]]), ("x", "Q2", "y"))
        >>> keep("proton", events).num_events
        1
    """

    beams: Beams
    cuts: Sequence[Ranges]
    derived: tuple[str, ...] = _OF_EVENT + _OF_ELECTRON

    def __call__(self, channel: str, events: Events) -> Events:
        """The events inside all cuts, with the columns that the cuts need.

        Raises:
            EventsError: no event is left.
            ColumnError: Q2 or y is missing.
        """
        adds = tuple(name for name in self.derived if name not in events.columns)
        events = DisKinematics(self.beams, adds=adds)(events, events.values[..., :0], {})
        self._check_columns(channel, events)
        for ranges in self.cuts:
            low = [-math.inf if low is None else low for low, _ in ranges.values()]
            high = [math.inf if high is None else high for _, high in ranges.values()]
            events = keep_inside(events, low, high, tuple(ranges))
        return events

    def _check_columns(self, channel: str, events: Events) -> None:
        missing = list(dict.fromkeys(name for ranges in self.cuts for name in ranges if name not in events.columns))
        if missing:
            raise ColumnError(
                f"there are cuts on {missing}, which the events of channel '{channel}' do not have, only {list(events.columns)}; with this "
                "reconstruction they follow from nothing else.\n"
                f"Add them to the events, or do without these cuts: ranges={{'{missing[0]}': (None, None)}}, in a runcard "
                f"detector: {{ranges: {{{missing[0]}: [null, null]}}}}."
            )


def _common_beams(channels: Sequence[DisChannel]) -> Beams:
    if not channels:
        raise SettingsError("the problem 'dis' needs at least one channel: dis([DisChannel(name='proton', ...)]).")
    beams = {channel.name: channel.beams for channel in channels}
    first = channels[0].beams
    for name, other in beams.items():
        if other != first:
            raise SettingsError(
                f"channels '{channels[0].name}' and '{name}' have different beams, {first} and {other}, but events of one problem pass one "
                "detector.\nFit them apart."
            )
    return first


def _check_errors(errors: Mapping[str, float], channels: Sequence[DisChannel]) -> None:
    names = [channel.name for channel in channels]
    for name, error in errors.items():
        if name not in names:
            raise SettingsError(f"'luminosity_errors' names '{name}', but the channels are {names}.")
        if not 0 < error < 1 / _NORM_RANGE:
            raise SettingsError(
                f"the relative error of the luminosity of channel '{name}' must lie between 0 and {1 / _NORM_RANGE:g}, got {error:g}.\n"
                "It is a fraction: write 0.02 for two per cent, and leave the channel out when the luminosity is exact."
            )


def _space(form: PdfParametrisation, errors: Mapping[str, float]) -> ParameterSpace:
    """Ranges, fractions and norms side by side."""
    blocks: list[tuple[Sequence[str], Bijection]] = []
    if form.ranges:
        blocks.append((tuple(form.ranges), _box(list(form.ranges.values()))))
    if form.fractions:
        blocks.append((form.fractions, Simplex(len(form.fractions))))
    if errors:
        ranges = [(1 - _NORM_RANGE * error, 1 + _NORM_RANGE * error) for error in errors.values()]
        blocks.append((tuple(f"norm_{name}" for name in errors), _box(ranges)))
    return ParameterSpace.of_blocks(blocks)


def _box(ranges: Sequence[tuple[float, float]]) -> Box:
    low, high = zip(*ranges, strict=True)
    return Box(tuple(map(float, low)), tuple(map(float, high)))
