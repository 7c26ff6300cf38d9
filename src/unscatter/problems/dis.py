"""Parton densities from deep-inelastic events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unscatter.detectors import Detector
from unscatter.errors import SettingsError
from unscatter.pdfs import Functional, PdfParametrisation
from unscatter.pipeline import Bijection, Box, ParameterSpace, Pipeline, Problem, Simplex
from unscatter.samplers import Rosenblatt, Sampler
from unscatter.theories.dis import DisChannel, DisTables, DisTheory, dis_grid, load_tables

#: Standard deviation of the prior in the latent space, where an interval is ten units wide: a fifth of every parameter's range.
_PRIOR_WIDTH = 2.0
#: Half the allowed range of a channel's normalisation in luminosity errors: in the latent space, where intervals are linear over ten
#: units, the prior is then Gaussian with just that error.
_NORM_RANGE = 5.0 / _PRIOR_WIDTH


def dis(
    channels: Sequence[DisChannel],
    *,
    tables: DisTables | str | Path = "lo",
    parametrisation: PdfParametrisation | None = None,
    luminosity_errors: Mapping[str, float] | None = None,
    Q2_range: tuple[float, float] = (10.0, 9000.0),
    y_range: tuple[float, float] = (0.01, 0.95),
    nodes: tuple[int, int] = (97, 49),
    detector: Detector | None = None,
    observables: tuple[str, ...] = (),
    sampler: Sampler | None = None,
) -> Problem:
    """Parton densities at the starting scale from events of one or several targets, leptons and currents.

    Args:
        channels: measured data sets; shapes and numbers of events both count.
        tables: theory tables, or the name of shipped ones, or their file.
        parametrisation: of the densities; :class:`~unscatter.pdfs.Functional` when None.
        luminosity_errors: relative error of the luminosity per channel; the normalisations of those named float within it.
        Q2_range: true Q2 in GeV2 of the events that the theory makes.
        y_range: true y of these.  With an ideal detector both are the cuts on the data; with a real one they must reach far enough
            beyond the cuts of the detector for everything that can migrate in.
        nodes: of the grid in Q2 and y.
        detector: ideal unless given.
        observables: columns that are compared; all that the detector records when empty.
        sampler: exact unless given.

    Raises:
        SettingsError: channels and luminosity errors do not fit together.
        TableError: the tables do not cover the ranges.

    Example:
        >>> from unscatter.theories.dis import Beams
        >>> proton = DisChannel(name="proton", target="proton", beams=Beams(18.0, 275.0), luminosity_inv_pb=4.1, exchange="photon")
        >>> problem = dis([proton], nodes=(13, 9))
        >>> problem.space.names[:3]
        ('uv_b', 'uv_c', 'uv_e')
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
    names = ", ".join(channel.name for channel in channels)
    return Problem(
        name="dis",
        space=_space(form, errors),
        pipeline=Pipeline(theory, detector or Detector(), sampler or Rosenblatt()),
        observables=observables,
        start=(*form.start, *(1.0 for _ in errors)),
        prior_width=_PRIOR_WIDTH,
        description=f"parton densities ({form.name}) from deep-inelastic events: {names}",
    )


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
