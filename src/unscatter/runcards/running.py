"""Runs that start from a runcard, and go on from the one in their directory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unscatter.errors import RunError
from unscatter.runcards.loading import load_runcard
from unscatter.runcards.runcard import Runcard
from unscatter.runs import RunDirectory, check_free, execute, open_unfinished, resume
from unscatter.solve import Fit, Observer


def start_run(card: Runcard, *, path: str | Path | None = None, observers: Sequence[Observer] = ()) -> Fit:
    """Do what a runcard says, and keep everything in a new run directory.

    Args:
        card: the runcard.
        path: the run directory, instead of the one in the runcard.
        observers: told what happens.

    Raises:
        RunError: the run directory exists already.
        SettingsError: sections of the runcard do not fit together.
        EventsError: a file of events is missing or unusable.
    """
    if path is not None:
        card = card.model_copy(update={"run": card.run.model_copy(update={"path": Path(path)})})
    check_free(card.run_path)
    problem, events, method, settings = card.build()
    return execute(
        problem, events, path=card.run_path, method=method, settings=settings,
        runcard_text=card.text, resolved_text=card.resolved, facts={"files": _digests(card)}, observers=observers,
    )  # fmt: skip


def resume_run(path: str | Path, *, checkpoint: str | Path | None = None, observers: Sequence[Observer] = ()) -> Fit:
    """Go on with an interrupted run, with the problem, events, method and settings of its ``resolved.yaml``.

    Args:
        path: the run directory.
        checkpoint: another checkpoint than the newest.
        observers: told what happens.

    Raises:
        RunError: the run has finished, is missing, has no runcard, or a file that it reads has changed.
        CheckpointError: the checkpoint is missing, damaged or of another version.
    """
    run = open_unfinished(path)
    if not run.resolved_runcard.is_file():
        raise RunError(
            f"the run '{run.path}' was started without a runcard, so nothing says what it fits.\n"
            "Resume it from Python: unscatter.runs.resume(path, problem, events, method=..., settings=...)."
        )
    # Before the events are read: a checkpoint that cannot be used is noticed at once.
    run.load_checkpoint(checkpoint)
    card = load_runcard(run.resolved_runcard)
    problem, events, method, settings = card.build()
    digests = _digests(card)
    _check_unchanged(run, card, digests)
    return resume(
        run.path, problem, events, method=method, settings=settings,
        checkpoint=checkpoint, facts={"files": digests}, observers=observers,
    )  # fmt: skip


def _digests(card: Runcard) -> dict[str, str]:
    """SHA-256 of every file that the runcard reads, by its key."""
    digests = {}
    for key, file in card.input_files().items():
        with file.open("rb") as content:
            digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests


def _check_unchanged(run: RunDirectory, card: Runcard, digests: Mapping[str, Any]) -> None:
    """Refuse to go on with other events or another theory than those of the start."""
    entries = run.read_provenance()
    before = entries[0].get("files", {}) if entries else {}
    for key, digest in digests.items():
        if before.get(key, digest) != digest:
            raise RunError(
                f"'{card.input_files()[key]}' ({key}) has changed since the run '{run.path}' was started: the two halves would not fit.\n"
                "Bring the old file back, or start a new run with the new one."
            )
