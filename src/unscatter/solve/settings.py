"""Settings of the loop."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SolveSettings(BaseModel):
    """How long to fit, how many replicas, when to stop, what to record.

    Example:
        >>> SolveSettings(steps=500, replicas=20).seed
        0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    # A thousand steps a second would take thirty years; beyond what a float holds, schedules fail.
    steps: int = Field(default=2000, ge=1, le=10**12)
    """Steps of a round; the step sizes fall along it, and the generator is averaged over its tail."""
    max_rounds: int = Field(default=3, ge=1)
    """A fit that has not converged at the end of a round goes on for another one, up to so many."""
    seed: int = Field(default=0, ge=0)
    """Fixes everything, bit for bit."""
    replicas: int = Field(default=1, ge=1)
    """Fits in one batch; more than one see bootstrapped events, and their spread is the error of the parameters."""
    pilot_steps: int = Field(default=2000, ge=0)
    """Steps of a single fit that an ensemble starts from when the problem has a prior; 0 for none."""
    bootstrap: bool = True
    """Whether several replicas see bootstrapped events; off, they all see the same, and differ by random numbers and prior centres."""
    held_out: float = Field(default=0.05, ge=0, lt=1)
    """Share of the events that no fit sees, for the test whether synthetic and measured events can be told apart; 0 for none."""
    test_level: float = Field(default=0.01, gt=0, lt=1)
    """The test is passed where its p-value is above this level."""
    settle_share: float = Field(default=1.0, gt=0)
    """Parameters have settled where both halves of the tail agree within this share of their error (the larger of the replicas' spread and
    the bound)."""
    log_every: int = Field(default=20, ge=1)
    """Steps between records of the metrics."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the fit runs; ``auto`` takes a GPU where there is one."""
    diagnose: bool = True
    """Whether bound, test and comparison are computed at the end; off for studies over many data sets."""
