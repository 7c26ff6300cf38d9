"""Runs that start from a runcard, and go on from the one in their directory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unscatter.errors import RunError
from unscatter.events.locations import identity, is_remote
from unscatter.exchange import Exchange
from unscatter.files import quoted
from unscatter.runcards.loading import load_runcard
from unscatter.runcards.runcard import Runcard
from unscatter.runcards.yaml_text import parse
from unscatter.runs import RunDirectory, execute, open_unfinished, resume
from unscatter.solve import Fit, Observer


def start_run(
    card: Runcard, *, path: str | Path | None = None, observers: Sequence[Observer] = (), exchange: Exchange | None = None
) -> Fit:
    """Do what a runcard says, and keep everything in a new run directory.

    Args:
        card: the runcard.
        path: the run directory, instead of the one in the runcard.
        observers: told what happens.
        exchange: how the ranks of a job share the generator; joined already.

    Raises:
        RunError: the run directory exists already.
        SettingsError: sections of the runcard do not fit together.
        EventsError: a file of events is missing or unusable.
    """
    if path is not None:
        card = card.model_copy(update={"run": card.run.model_copy(update={"path": Path(path)})})
    if exchange is None or exchange.rank == 0:
        RunDirectory.check_free(card.run_path)
    problem, events, method, settings = card.build()
    return execute(
        problem, events, path=card.run_path, method=method, settings=settings,
        runcard_text=card.text, resolved_text=card.resolved, facts={"files": _digests(card)}, observers=observers,
        exchange=exchange,
    )  # fmt: skip


def resume_run(
    path: str | Path, *, checkpoint: str | Path | None = None, observers: Sequence[Observer] = (), exchange: Exchange | None = None
) -> Fit:
    """Go on with an interrupted run, with the problem, events, method and settings of its ``resolved.yaml``.

    Args:
        path: the run directory.
        checkpoint: another checkpoint than the newest.
        observers: told what happens.
        exchange: how the ranks of a job share the generator; joined already.

    Raises:
        RunError: the run has finished, is missing, has no runcard, or its settings or a file that it reads have changed.
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
    _check_settings(run, card)
    problem, events, method, settings = card.build()
    digests = _digests(card)
    _check_unchanged(run, card, digests)
    return resume(
        run.path, problem, events, method=method, settings=settings,
        checkpoint=checkpoint, facts={"files": digests}, observers=observers, exchange=exchange,
    )  # fmt: skip


def _digests(card: Runcard) -> dict[str, str]:
    """What tells whether the files that the runcard reads are still the same, by their key."""
    return {key: _digest(file) for key, file in card.input_files().items()}


def _digest(file: Path | str) -> str:
    """SHA-256 of a file; of one behind a URL what its server says of it, since all of it would have to travel again."""
    if is_remote(file):
        size, version = identity(file)
        return f"{size} bytes, {version}"
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _check_settings(run: RunDirectory, card: Runcard) -> None:
    """Refuse to go on with other settings than those of the start; files may have moved, since their content is compared."""
    original = run.read_original_runcard()
    if original is None:
        return
    before, now = (_flat(parse(text, str(run.resolved_runcard))[0]) for text in (original, run.read_runcard(resolved=True)))
    places = tuple(card.input_sources())
    changed = [key for key in dict.fromkeys((*before, *now)) if before.get(key) != now.get(key) and not _may_move(key, places)]
    # Another number of ranks, or another way to share the generator, can go on from any checkpoint.
    changed = [key for key in changed if not key.startswith("exchange")]
    if changed:
        facts = "; ".join(f"'{key}' was {before.get(key, 'not there')} and is {now.get(key, 'not there')}" for key in changed)
        raise RunError(
            f"'{run.resolved_runcard}' has changed since the run was started: {facts}. The two halves would not fit.\n"
            "Write the old values back, or start a new run with the new ones: "
            f"unscatter solve {quoted(run.resolved_runcard)} --run {quoted(f'{run.path}-2')}"
        )


def _may_move(key: str, places: Sequence[str]) -> bool:
    """Whether a setting only says where something lies: its content is compared instead."""
    return key == "run.path" or any(key in (place, f"{place}.path") or key.startswith(f"{place}.path.") for place in places)


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Values of nested mappings and lists by their dotted key.

    Example:
        >>> _flat({"solve": {"steps": 5}, "cuts": [1, 2]})
        {'solve.steps': 5, 'cuts.0': 1, 'cuts.1': 2}
    """
    match value:
        case dict() if value:
            items = value.items()
        case list() if value:
            items = enumerate(value)
        case _:
            return {key: value}
    return {inner: found for name, item in items for inner, found in _flat(item, f"{key}.{name}".lstrip(".")).items()}


def _check_unchanged(run: RunDirectory, card: Runcard, digests: Mapping[str, Any]) -> None:
    """Refuse to go on with other events or another theory than those of the start."""
    entries = run.read_provenance()
    before = entries[0].get("files", {}) if entries else {}
    files, now = ([key for key in digests_of if key.startswith("events.")] for digests_of in (before, digests))
    if files and sorted(files) != sorted(now):
        raise RunError(
            f"the run '{run.path}' was started with the files of events {files}, and now there are {now}: the two halves would not fit.\n"
            "Bring the old files back, or start a new run with the new ones."
        )
    for key, digest in digests.items():
        if before.get(key, digest) != digest:
            raise RunError(
                f"'{card.input_files()[key]}' ({key}) has changed since the run '{run.path}' was started: the two halves would not fit.\n"
                "Bring the old file back, or start a new run with the new one."
            )
