"""Synthetic run directories in the layout that a fit writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unscatter.runs import RunDirectory

#: Makes a run directory of a given name; keywords as in :func:`make_run`.
MakeRun = Callable[..., RunDirectory]

NAMES = ("p0", "p1", "p2", "p3")
TRUTH = (0.5, 3.0, 0.3, 4.0)
BOUND = (0.0065, 0.021, 0.0054, None)


def make_run(path: Path, *, num_steps: int = 300, num_replicas: int = 1, names: tuple[str, ...] = NAMES, truth: bool = True,
             channels: tuple[str, ...] = ("proton",), columns: tuple[str, ...] = ("x", "energy_GeV"), finished: bool = True,
             seed: int = 1, settings: str = "problem: proxy2d\nmethod:\n  name: gan\n  steps: 300\nseed: 7\n",
             summary: dict[str, Any] | None = None) -> RunDirectory:  # fmt: skip
    """A run directory as a fit leaves it, or one of a fit that has not finished."""
    rng = np.random.default_rng(seed)
    run = RunDirectory.create(path)
    run.write_runcard("problem: proxy2d\n", settings)
    run.add_provenance(provenance())
    for step in range(1, num_steps + 1):
        run.append_metrics(metrics_at(step, names, rng))
    if finished:
        run.write_table("parameters", parameters(names, num_replicas, truth, rng))
        run.write_table("replicas", replicas(names, num_replicas, rng))
        run.write_table("comparison", comparison(channels, columns, rng))
        run.write_result("summary", base_summary(num_replicas, channels) | (summary or {}))
    return run


def provenance() -> dict[str, Any]:
    return {
        "started": "2026-01-02T03:04:05+00:00",
        "command": "unscatter solve proxy2d --set seed=7",
        "seeds": {"seed": 7},
        "versions": {"python": "3.11.2", "unscatter": "0.1.0", "torch": "2.13.0"},
        "git": {"unscatter": {"commit": "0123456789abcdef", "dirty": False}},
        "host": "node17",
        "devices": [],
    }


def metrics_at(step: int, names: tuple[str, ...], rng: np.random.Generator) -> dict[str, Any]:
    """Losses that wander and parameters that approach their truth."""
    centre = [TRUTH[i % 4] * (1 + 0.3 * np.exp(-step / 40)) for i in range(len(names))]
    return {
        "step": 10 * step,
        "seconds": 0.4 * step,
        "steps_per_second": 25.0,
        "rate_factor": 1.0,
        "discriminator_loss": 1.386 + 0.05 * rng.normal(),
        "generator_loss": 0.693 + 0.03 * rng.normal() + np.exp(-step / 30),
        "penalty": 0.01 * rng.random(),
        "skipped": 0,
        "parameters": {name: c + 0.01 * rng.normal() for name, c in zip(names, centre, strict=True)},
        "averaged": {name: c + 0.001 * rng.normal() for name, c in zip(names, centre, strict=True)},
    }


def parameters(names: tuple[str, ...], num_replicas: int, truth: bool, rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for i, name in enumerate(names):
        true, bound = TRUTH[i % 4], BOUND[i % 4]
        value = true + float(rng.normal()) * (bound or 0.02)
        error = 1.1 * (bound or 0.02) if num_replicas > 1 else None
        sigma = error or bound
        rows.append({
            "name": name, "value": value, "error": error, "bound": bound, "relative_bound": bound / true if bound else None,
            "truth": true if truth else None, "pull": (value - true) / sigma if truth and sigma else None,
            "low": true - 0.4, "high": true + 0.5, "role": "nuisance" if name.startswith("background") else "physics",
            "determined": bound is not None,
        })  # fmt: skip
    return rows


def replicas(names: tuple[str, ...], num_replicas: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    common = rng.normal(size=num_replicas)
    return [
        {"replica": r, "name": name, "value": TRUTH[i % 4] + 0.01 * float(rng.normal() + (-1) ** i * common[r])}
        for r in range(num_replicas)
        for i, name in enumerate(names)
    ]


def comparison(channels: tuple[str, ...], columns: tuple[str, ...], rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for channel in channels:
        for column in columns:
            logarithmic = column.startswith("Q2")
            edges = np.geomspace(1, 100, 21) if logarithmic else np.linspace(0, 1, 31)
            centres = (edges[1:] + edges[:-1]) / 2
            expected = (20_000 / centres**1.5 * np.diff(edges)) if logarithmic else 12_000 * centres**0.5 * (1 - centres) ** 3 + 2
            measured, synthetic = rng.poisson(expected), expected * (1 + 0.01 * rng.normal(size=len(expected)))
            error, synthetic_error = np.sqrt(np.maximum(measured, 1)), 0.01 * expected
            pull = (measured - synthetic) / np.hypot(error, synthetic_error)
            pull[3] = 9.0 if channel == "neutron" else pull[3]
            rows += [
                {"channel": channel, "column": column, "bin": k, "low": float(edges[k]), "high": float(edges[k + 1]),
                 "measured": float(measured[k]), "measured_error": float(error[k]), "synthetic": float(synthetic[k]),
                 "synthetic_error": float(synthetic_error[k]), "pull": float(pull[k]),
                 "counted": bool(expected[k] > 10), "by_rate": False}
                for k in range(len(centres))
            ]  # fmt: skip
    return rows


def base_summary(num_replicas: int, channels: tuple[str, ...]) -> dict[str, Any]:
    test = {"auc": 0.5034, "auc_error": 0.0041, "p_value": 0.41, "accuracy": 0.501, "accuracy_error": 0.004, "passes": True}
    return {
        "problem": "proxy2d",
        "description": "five parameters of a correlated density in two observables",
        "method": "gan",
        "steps": 3000,
        "seconds": 118.3,
        "steps_per_second": 25.36,
        "stop_reason": "the two-sample test passes and the averaged parameters have settled",
        "converged": True,
        "num_events": dict.fromkeys(channels, 100_000),
        "expected_counts": dict.fromkeys(channels, 99_871.3),
        "two_sample": dict.fromkeys(channels, test),
        "null_directions": ["p0 and p3 only as a ratio"],
        "weak_directions": ["p1 together with p2"],
        "settled": {"worst": "p2", "value": 0.123, "passes": True},
        "skipped_share": 0.0,
        "num_replicas": num_replicas,
        "rates": True,
        "error_source": "replica spread" if num_replicas > 1 else "Cramer-Rao bound",
    }
