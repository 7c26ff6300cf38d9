"""A worker's side: tasks come in, reports go out."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from unscatter.events.store.work import Workshop


class LineClosed(Exception):  # noqa: N818 - not an error: nobody wants this worker's work any more
    """The other side has gone."""


@runtime_checkable
class Line(Protocol):
    """How a worker talks to whoever gives it tasks."""

    def receive(self) -> Any:
        """The next message; waits for it.  LineClosed where there will be none."""
        ...

    def ready(self) -> bool:
        """Whether a message is there."""
        ...

    def send(self, message: Any) -> None:
        """Send a message.  LineClosed where nobody listens."""
        ...


def serve(workshop: Workshop, line: Line) -> None:
    """Do tasks until the line is closed.

    A task comes in, its reports go out, None says that it is done.  The start of a piece that was not known when the task was given comes
    as a message of its own.  An error goes out and ends the worker.
    """

    def starts(*, wait: bool) -> int | None:
        return line.receive() if wait or line.ready() else None

    try:
        while True:
            for report in workshop.do(line.receive(), starts):
                line.send(report)
            line.send(None)
    except LineClosed:
        return
    except Exception as error:  # noqa: BLE001 - it goes to where it is shown
        line.send(error)
