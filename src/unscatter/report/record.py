"""What a run directory says, read once; whatever it does not hold is None or empty."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from unscatter.runs import RunDirectory


@dataclass(frozen=True)
class ParameterRow:
    """One fitted parameter.

    Args:
        name: as in the parameter space.
        value: estimate, None where it is not finite.
        error: spread of the replicas.
        bound: Cramer-Rao bound, one sigma.
        relative_bound: the bound over the value.
        truth: what the pseudo-data were made with.
        pull: deviation from the truth over the error.
        low: lower end of the allowed range.
        high: upper end of the allowed range.
        role: ``physics`` or ``nuisance``.
        determined: whether the events fix the parameter at all.
    """

    name: str
    value: float | None
    error: float | None = None
    bound: float | None = None
    relative_bound: float | None = None
    truth: float | None = None
    pull: float | None = None
    low: float | None = None
    high: float | None = None
    role: str = "physics"
    determined: bool = True

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> ParameterRow:
        """Read one row of ``result/parameters.json``."""
        numbers = ("value", "error", "bound", "relative_bound", "truth", "pull", "low", "high")
        return cls(
            name=str(row["name"]),
            **{name: number(row.get(name)) for name in numbers},
            role=str(row.get("role", "physics")),
            determined=bool(row.get("determined", True)),
        )

    @property
    def sigma(self) -> float | None:
        """The error that is quoted: the spread of the replicas, or else the bound."""
        return self.error if self.error is not None else self.bound


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Measured against synthetic events in one column of one channel; all arrays have one entry per bin, NaN where there is no number.

    Args:
        channel: measured data set.
        column: observable.
        low: lower edges of the bins, in the unit of the column.
        high: upper edges.
        measured: sum of weights of the measured events.
        measured_error: its standard deviation.
        synthetic: sum of weights of the synthetic events, scaled to the measurement.
        synthetic_error: its standard deviation.
        pull: difference over both errors.
        counted: whether a bin holds enough events to count in chi-square.
        by_rate: whether synthetic events were scaled by the expected rate, not to the measured total; None where the table does not say.
    """

    channel: str
    column: str
    low: np.ndarray
    high: np.ndarray
    measured: np.ndarray
    measured_error: np.ndarray
    synthetic: np.ndarray
    synthetic_error: np.ndarray
    pull: np.ndarray
    counted: np.ndarray
    by_rate: bool | None = None

    @property
    def edges(self) -> np.ndarray:
        """Edges of the bins, one more than bins."""
        return np.append(self.low, self.high[-1])

    @property
    def chi_squared(self) -> float:
        """Sum of the squared pulls of the bins that count."""
        return float(np.sum(self.pull[self.counted] ** 2))

    @property
    def degrees_of_freedom(self) -> int:
        """Bins that count, less one where synthetic events were scaled to the measured total."""
        return max(0, int(self.counted.sum()) - (1 if self.by_rate is False else 0))


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that a report needs to know about a run.

    Args:
        run: the directory.
        metrics: records of the steps, the oldest first.
        summary: facts about the whole fit; None while there is no result.
        parameters: fitted parameters; empty while there is no result.
        replicas: values of each parameter over the replicas, ``{name: [replica]}``.
        spectra: one per channel and column.
        settings: text of the resolved runcard, or else of the runcard as it was given.
        settings_file: name of the file that the settings come from.
        provenance: one entry per start and resume.
        log_tail: last lines of the log of rank 0.
        curves: one row per point of a curve; empty where the problem has none.
        slices: one row per bin of data over theory; empty for a single observable.
        measurements: one row per point of the published measurements that the fit was compared with.
    """

    run: RunDirectory
    metrics: tuple[dict[str, Any], ...]
    summary: dict[str, Any] | None
    parameters: tuple[ParameterRow, ...]
    replicas: dict[str, np.ndarray]
    spectra: tuple[Spectrum, ...]
    settings: str | None
    settings_file: str | None
    provenance: tuple[dict[str, Any], ...]
    log_tail: str
    curves: tuple[dict[str, Any], ...] = ()
    slices: tuple[dict[str, Any], ...] = ()
    measurements: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self.run.path.resolve().name

    @property
    def num_replicas(self) -> int:
        """Number of replicas in the table of replicas; zero without one."""
        return max((len(values) for values in self.replicas.values()), default=0)

    def missing(self) -> list[str]:
        """What the run directory does not hold, in words."""
        unreadable = self.run.metrics.is_file() and self.run.metrics.stat().st_size > 0
        absent = {
            "the summary of the fit (result/summary.json)": not self.summary,
            "the fitted parameters (result/parameters.json)": not self.parameters,
            "the comparison of measured and synthetic events (result/comparison.json)": not self.spectra,
            f"the history of the steps (metrics.jsonl{', which holds no record that can be read' if unreadable else ''})": not self.metrics,
            "the settings (resolved.yaml, runcard.yaml)": self.settings is None,
            "the provenance (provenance.json)": not self.provenance,
        }
        return [text for text, is_absent in absent.items() if is_absent]


def read_record(run: RunDirectory) -> RunRecord:
    """Read a run directory.

    Raises:
        RunError: a file is there but damaged.
    """
    settings, settings_file = _settings(run)
    return RunRecord(
        run=run,
        metrics=tuple(run.read_metrics()),
        summary=_result(run, "summary"),
        parameters=tuple(ParameterRow.from_mapping(row) for row in _result(run, "parameters") or ()),
        replicas=_replicas(_result(run, "replicas") or ()),
        spectra=tuple(_spectra(_result(run, "comparison") or ())),
        settings=settings,
        settings_file=settings_file,
        provenance=tuple(run.read_provenance()),
        log_tail=_log_tail(run),
        curves=tuple(_result(run, "curves") or ()),
        slices=tuple(_result(run, "slices") or ()),
        measurements=tuple(_result(run, "measurements") or ()),
    )


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if value is None or isinstance(value, bool | str):
        return None
    return float(value) if math.isfinite(value) else None


def passes(test: Mapping[str, Any]) -> bool:
    """Whether a two-sample test was passed: as it says itself, or else by its p-value against its level."""
    if test.get("passes") is not None:
        return bool(test["passes"])
    p_value, level = number(test.get("p_value")), number(test.get("level"))
    return p_value is not None and level is not None and p_value >= level


def series(metrics: Sequence[Mapping[str, Any]], *keys: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one figure of the metrics, only where it is a finite number; several keys reach into nested records.

    Example:
        >>> steps, values = series([{"step": 1, "parameters": {"p": 2.0}}, {"step": 2}], "parameters", "p")
        >>> steps.tolist(), values.tolist()
        ([1.0], [2.0])
    """
    pairs = [(float(record["step"]), value) for record in metrics if (value := number(_reach(record, keys))) is not None]
    columns = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def loss_names(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of the metrics that are losses, in the order in which they appear."""
    names = dict.fromkeys(key for record in metrics for key in record if key.endswith("_loss") or key == "penalty")
    return [name for name in names if len(series(metrics, name)[0])]


def parameter_names(record: RunRecord) -> list[str]:
    """Names of the parameters, from the result or else from the metrics."""
    if record.parameters:
        return [row.name for row in record.parameters]
    return list(dict.fromkeys(name for metrics in record.metrics for name in metrics.get("parameters") or {}))


def _reach(record: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _result(run: RunDirectory, name: str) -> Any:
    return run.read_result(name) if (run.result / f"{name}.json").is_file() else None


def _settings(run: RunDirectory) -> tuple[str | None, str | None]:
    for resolved, path in ((True, run.resolved_runcard), (False, run.runcard)):
        if path.is_file():
            return run.read_runcard(resolved=resolved), path.name
    return None, None


def _replicas(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Values by parameter, ordered by replica, NaN where a replica lacks one."""
    replicas = sorted({row["replica"] for row in rows})
    values: dict[str, dict[Any, float]] = {}
    for row in rows:
        value = number(row["value"])
        values.setdefault(str(row["name"]), {})[row["replica"]] = math.nan if value is None else value
    return {name: np.array([known.get(replica, math.nan) for replica in replicas]) for name, known in values.items()}


def _spectra(rows: Sequence[Mapping[str, Any]]) -> Iterator[Spectrum]:
    def place(row: Mapping[str, Any]) -> tuple[str, str]:
        return str(row["channel"]), str(row["column"])

    order = {key: position for position, key in enumerate(dict.fromkeys(map(place, rows)))}
    for (channel, column), group in groupby(sorted(rows, key=lambda row: (order[place(row)], row["bin"])), key=place):
        bins = list(group)
        arrays = ("low", "high", "measured", "measured_error", "synthetic", "synthetic_error", "pull")
        columns = {name: column_of(bins, name) for name in arrays}
        counted = np.array([bool(row.get("counted", True)) for row in bins]) & np.isfinite(columns["pull"])
        yield Spectrum(channel, column, **columns, counted=counted, by_rate=bins[0].get("by_rate"))


def column_of(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One column of a table, NaN where it holds no finite number."""
    numbers = [number(row.get(name)) for row in rows]
    return np.array([math.nan if value is None else value for value in numbers])


def _log_tail(run: RunDirectory, num_lines: int = 20) -> str:
    """The end of the log, without control characters (colours), which HTML does not allow."""
    path = run.log(0)
    if not path.is_file():
        return ""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", path.read_text(encoding="utf-8", errors="replace"))
    lines = text.splitlines()[-num_lines:]
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in lines)
