"""The section of the deep-inelastic problem, and the one place where it becomes a problem."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from unscatter.detectors import Reconstruction
from unscatter.pdfs import Functional, Neural, NodeValues, read_lhapdf
from unscatter.pipeline import Problem, check_channel_name
from unscatter.problems import dis, with_grid_truth
from unscatter.runcards.section import InputPath, Section, check_order
from unscatter.theories.dis import Beams, DisChannel

_Positive = Annotated[float, Field(gt=0)]
_Range = tuple[_Positive, _Positive]
#: What a generator of random numbers takes.
_LARGEST_SEED = 2**64 - 1
#: The tables behind the densities have some 50 nodes in x and 24 in Q: more nodes show nothing new, and each pair of them is a row of a
#: matrix with eight densities at all nodes in x.
_AxisNodes = Annotated[int, Field(ge=2, le=1000)]
_ChannelName = Annotated[str, AfterValidator(check_channel_name)]


class BeamsSection(Section):
    """Energies of the beams, which collide head on."""

    electron_energy_GeV: _Positive = 18.0
    """Of the lepton."""
    hadron_energy_GeV: _Positive = 275.0
    """Of the hadron, per nucleon."""


class ChannelSection(Section):
    """One measured set of deep-inelastic events."""

    target: Literal["proton", "neutron", "deuteron"]
    """What the leptons hit; the deuteron per nucleon."""
    luminosity_inv_pb: _Positive
    """Integrated luminosity in 1/pb, per nucleon."""
    luminosity_error: Annotated[float, Field(gt=0, lt=0.4)] | None = None
    """Relative error of the luminosity, within which the normalisation floats; null for an exact one."""
    lepton: Literal["e-", "e+"] = "e-"
    """The lepton."""
    current: Literal["NC", "CC"] = "NC"
    """Neutral or charged current."""
    exchange: Literal["photon", "photon+Z"] = "photon+Z"
    """What neutral currents exchange."""
    polarisation: float = Field(default=0.0, ge=-1, le=1)
    """Longitudinal polarisation of the lepton beam."""


class FunctionalSection(Section):
    """Powers times polynomials, in the habit of the HERAPDF fits."""

    kind: Literal["functional"]
    """Which parametrisation this is."""
    sum_rules: bool = True
    """Whether number and momentum sum rules hold."""
    positivity: bool = True
    """Whether densities are positive."""


class NodesSection(Section):
    """Values at nodes of x."""

    kind: Literal["nodes"]
    """Which parametrisation this is."""
    nodes: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=NodeValues().nodes, min_length=2)
    """Increasing momentum fractions."""
    sum_rules: bool = True
    """Whether number and momentum sum rules hold."""
    positivity: bool = True
    """Whether densities are positive."""

    @model_validator(mode="after")
    def _check_nodes(self) -> NodesSection:
        NodeValues(self.nodes)
        return self


class NeuralSection(Section):
    """A neural network of x."""

    kind: Literal["neural"]
    """Which parametrisation this is."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=Neural().hidden, min_length=1)
    """Columns of every hidden layer."""
    seed: int = Field(default=0, ge=0, le=_LARGEST_SEED)
    """Of the weights that a fit starts from."""
    sum_rules: bool = True
    """Whether number and momentum sum rules hold."""
    positivity: bool = True
    """Whether densities are positive."""

    @model_validator(mode="after")
    def _check_hidden(self) -> NeuralSection:
        Neural(self.hidden)
        return self


_Form = FunctionalSection | NodesSection | NeuralSection


class ElectronDetectorSection(Section):
    """A ready-made detector for electron and hadrons, see the documentation of ``electron_detector``."""

    preset: Literal["ideal", "eic-like", "hera-like"] = "ideal"
    """Resolutions, efficiency and acceptance; illustrative numbers."""
    reconstruction: Reconstruction = "electron"
    """How x, Q2 and y are made, as those of the data were: by the ``electron`` alone, or by electron and hadrons."""
    ranges: dict[Literal["x", "Q2", "y", "W2", "electron_energy", "electron_theta", "hadron_y"], tuple[float | None, float | None]] = Field(
        default_factory=dict
    )
    """Cuts on measured columns beside those of the preset, or in their place; applied to measured and synthetic events alike."""
    background: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fraction of fake electrons before the cuts; null for none."""

    @model_validator(mode="after")
    def _check_ranges(self) -> ElectronDetectorSection:
        for column, (low, high) in self.ranges.items():
            check_order(column, low, high)
        return self


#: What the built-in problem stands for unless it is told: 75,000 events a target at an electron-ion collider.
_EXAMPLE_CHANNELS = {
    "proton": ChannelSection(target="proton", luminosity_inv_pb=1.2, exchange="photon"),
    "neutron": ChannelSection(target="neutron", luminosity_inv_pb=1.2, exchange="photon"),
}


def _preset_tag(value: object) -> str:
    return "preset" if isinstance(value, str) else ElectronDetectorSection.__name__


class DisSection(Section):
    """Parton densities from deep-inelastic events."""

    name: Literal["dis"]
    """Which problem this is."""
    channels: dict[_ChannelName, ChannelSection] = Field(default=_EXAMPLE_CHANNELS, min_length=1)
    """Measured sets of events by name, combined in one fit."""
    beams: BeamsSection = BeamsSection()
    """Of all channels."""
    tables: Literal["lo", "nlo", "nnlo"] | InputPath = "lo"
    """Theory tables: ``lo``, ``nlo``, ``nnlo``, or a file that ``unscatter tables build`` made."""
    parametrisation: Annotated[_Form, Field(discriminator="kind")] = FunctionalSection(kind="functional")
    """Of the densities at the starting scale."""
    Q2_range: _Range = (10.0, 9000.0)
    """True Q2 in GeV2 of the events that the theory makes; a cut on the data as well when the detector is ideal."""
    y_range: _Range = (0.01, 0.95)
    """True y of these."""
    nodes: tuple[_AxisNodes, _AxisNodes] = (97, 49)
    """Of the grid in Q2 and y."""
    detector: Annotated[
        Annotated[Literal["ideal", "eic-like", "hera-like"], Tag("preset")]
        | Annotated[ElectronDetectorSection, Tag(ElectronDetectorSection.__name__)],
        Discriminator(_preset_tag),
    ] = "ideal"
    """A preset, or a preset with cuts and background of one's own."""
    observables: tuple[str, ...] = Field(default=("x", "Q2", "y"), min_length=1)
    """Columns that are compared."""
    measurements: tuple[Literal["NC_ep_318", "NC_em_318", "NC_ep_300", "NC_ep_251", "NC_ep_225"], ...] = ()
    """HERA's combined data that the result is compared with, without being fitted; needs the extra ``qcd``."""
    truth: dict[str, float] | None = None
    """Parameters that the events were made with, where they are known."""
    truth_pdf: InputPath | None = None
    """Densities that the events were made with instead: a folder in the format of LHAPDF, whose member 0 is taken at the starting scale;
    pseudo-data and the true curves come from it, ``example:NNPDF31_lo_as_0130_excerpt`` comes with the package."""

    @model_validator(mode="after")
    def _check_ranges(self) -> DisSection:
        check_order("Q2_range", *self.Q2_range)
        check_order("y_range", *self.y_range)
        return self

    @model_validator(mode="after")
    def _check_truth(self) -> DisSection:
        if self.truth is not None and self.truth_pdf is not None:
            raise ValueError("'truth' and 'truth_pdf' contradict one another: the events were made with one of them; remove the other")
        return self


def build_dis(section: DisSection) -> Problem:
    """Turn the section into a problem.

    Raises:
        SettingsError: settings do not fit together.
        TableError: the tables are missing, damaged, or too small for the ranges.
        PdfGridError: ``truth_pdf`` is missing or malformed, or does not cover what the tables need.
    """
    beams = Beams(section.beams.electron_energy_GeV, section.beams.hadron_energy_GeV)
    fields = ("target", "luminosity_inv_pb", "lepton", "current", "exchange", "polarisation")
    channels = [
        DisChannel(name=name, beams=beams, **{field: getattr(channel, field) for field in fields})
        for name, channel in section.channels.items()
    ]
    errors = {name: channel.luminosity_error for name, channel in section.channels.items() if channel.luminosity_error is not None}
    chosen = section.detector
    electron = ElectronDetectorSection(preset=chosen) if isinstance(chosen, str) else chosen
    problem = dis(
        channels,
        tables=section.tables,
        parametrisation=_form(section.parametrisation),
        luminosity_errors=errors,
        Q2_range=section.Q2_range,
        y_range=section.y_range,
        nodes=section.nodes,
        detector=electron.preset,
        ranges=dict(electron.ranges.items()),
        background=electron.background,
        reconstruction=electron.reconstruction,
        observables=section.observables,
        measurements=section.measurements,
    )
    return problem if section.truth_pdf is None else with_grid_truth(problem, read_lhapdf(section.truth_pdf, num_members=1))


def _form(section: _Form) -> Functional | NodeValues | Neural:
    match section:
        case FunctionalSection():
            return Functional(sum_rules=section.sum_rules, positivity=section.positivity)
        case NodesSection():
            return NodeValues(section.nodes, sum_rules=section.sum_rules, positivity=section.positivity)
        case NeuralSection():
            return Neural(section.hidden, section.seed, sum_rules=section.sum_rules, positivity=section.positivity)
