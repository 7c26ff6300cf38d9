"""Progress of a fit: a live display in a terminal, a line now and then in a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
from rich.progress import Task as ProgressTask
from rich.text import Text
from torch import Tensor

from unscatter.report.rounding import plain_number
from unscatter.solve import Observer

#: Seconds between the lines of a plain display.
PLAIN_INTERVAL_S = 10.0
#: Parameters in the display; all of them are in the report.
MAX_PARAMETERS = 6


@contextmanager
def progress_display(console: Console, *, quiet: bool = False) -> Iterator[list[Observer]]:
    """Observers that show how a fit goes on: live in a terminal, plain lines elsewhere, nothing when quiet."""
    if quiet:
        yield []
    elif console.is_terminal:
        display = LiveDisplay(console)
        with display.live:
            yield [display]
    else:
        yield [PlainLines(console)]


class Pace:
    """Steps per second and time left, from the first record of this process on."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def update(self, record: Mapping[str, Any]) -> float | None:
        """Steps per second, or None at the first record."""
        step, seconds = int(record["step"]), float(record["seconds"])
        if self._first is None:
            self._first = (step, seconds)
        steps, elapsed = step - self._first[0], seconds - self._first[1]
        return steps / elapsed if steps > 0 and elapsed > 0 else None


def losses(record: Mapping[str, Any]) -> dict[str, float]:
    """The losses of a record, by short names.

    Example:
        >>> losses({"step": 1, "generator_loss": 0.5, "penalty": 0.1})
        {'generator': 0.5}
    """
    return {name.removesuffix("_loss"): value for name, value in record.items() if name.endswith("_loss")}


def time_left(steps: int, pace: float | None) -> str:
    """Minutes and seconds for so many steps.

    Example:
        >>> time_left(300, 20.0), time_left(300, None), time_left(80_000, 20.0)
        ('0:15', '-:--', '1:06:40')
    """
    if not pace:
        return "-:--"
    minutes, seconds = divmod(round(steps / pace), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _pace_text(pace: float | None) -> str:
    return "" if pace is None else f"{pace:.0f}/s" if pace >= 10 else f"{pace:.1f}/s"


class _PaceColumn(ProgressColumn):
    def render(self, task: ProgressTask) -> Text:
        """Steps, steps per second and time left; the display fills the fields in."""
        return Text(str(task.fields.get("pace", "")), style="cyan")


class LiveDisplay:
    """Bar, pace, losses and some parameters, in place.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn(), _PaceColumn())
        self.progress = Progress(*columns, console=console, expand=True)
        self.live = Live(self.progress, console=console, refresh_per_second=4, transient=True)
        self.last_step, self.pace = 0, Pace()
        self.task = self.progress.add_task("preparing", total=None)

    def piloted(self, steps_done: int, steps: int) -> None:
        """Show how far the pilot is."""
        self.progress.update(self.task, description=f"pilot {steps_done}/{steps}", total=steps, completed=steps_done)

    def started(self, first_step: int, last_step: int) -> None:
        """A round begins."""
        self.last_step = last_step
        self.progress.update(self.task, description=f"step {first_step}/{last_step}", total=last_step, completed=first_step)

    def progressed(self, record: Mapping[str, Any]) -> None:
        """Show one record."""
        step, end, pace = int(record["step"]), self.last_step, self.pace.update(record)
        text = f"{_pace_text(pace)} {time_left(end - step, pace)} left"
        description = f"step {step}/{end}" if step < end else "judging the fit"
        self.progress.update(self.task, description=description, completed=step, pace=text if step < end else "")
        self.live.update(Group(self.progress, _numbers("loss", losses(record)), _numbers("fit", _first(record["averaged"]))))

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Nothing to show."""

    def stop_requested(self) -> bool:
        """Never."""
        return False


def _numbers(title: str, values: Mapping[str, float]) -> Text:
    text = Text(f"{title} ", style="dim")
    for name, value in values.items():
        text.append(f" {name} ", style="default").append(plain_number(value, 3), style="bold")
    return text


def _first(values: Mapping[str, float]) -> dict[str, float]:
    return dict(list(values.items())[:MAX_PARAMETERS])


class PlainLines:
    """One line now and then, for logs.

    Args:
        console: not a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.last_step, self.pace = console, 0, Pace()
        self._shown = float("-inf")

    def piloted(self, steps_done: int, steps: int) -> None:
        """Say now and then how far the pilot is."""
        if time.monotonic() - self._shown >= PLAIN_INTERVAL_S or steps_done == steps:
            self._shown = time.monotonic()
            self._print(f"pilot, a single fit to start from: step {steps_done}/{steps}")

    def started(self, first_step: int, last_step: int) -> None:
        """A round begins."""
        self.last_step = last_step
        self._print(f"step {first_step} of {last_step}")

    def progressed(self, record: Mapping[str, Any]) -> None:
        """Show a record unless the last line is recent."""
        step, end, pace = int(record["step"]), self.last_step, self.pace.update(record)
        if time.monotonic() - self._shown < PLAIN_INTERVAL_S and step < end:
            return
        self._shown = time.monotonic()
        numbers = " ".join(f"{name} {plain_number(value, 3)}" for name, value in {**losses(record), **_first(record["averaged"])}.items())
        self._print(f"step {step}/{end} ({step / end:.0%}) {_pace_text(pace)} {time_left(end - step, pace)} left: {numbers}")

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Nothing to show."""

    def stop_requested(self) -> bool:
        """Never."""
        return False

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)
