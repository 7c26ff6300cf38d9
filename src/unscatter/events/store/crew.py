"""The loop that gives tasks to workers and enters what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias

from unscatter.events.locations import suffix
from unscatter.events.store.books import Books, ReadPiece, Task
from unscatter.events.store.plan import Plan
from unscatter.events.store.process_worker import ProcessWorker
from unscatter.events.store.reports import Report
from unscatter.events.store.thread_worker import ThreadWorker
from unscatter.events.store.work import Workshop

#: Workers are threads, unless there are so many bytes for each that processes, which start slowly but share no lock, are worth it.
BYTES_PER_PROCESS = 1 << 30
#: The same for HepMC, which is read event by event.
HEPMC_BYTES_PER_PROCESS = 32 << 20

_Kind: TypeAlias = type[ThreadWorker] | type[ProcessWorker]
_Inbox: TypeAlias = "SimpleQueue[tuple[int, Any]]"


def work_alone(workshop: Workshop, books: Books, take: Callable[[Report], None]) -> None:
    """Do all tasks in this thread, one after the other."""
    while (task := books.next_task()) is not None:
        # In order, the start of a piece is always known.
        for report in workshop.do(task, lambda *, wait: None):
            take(report)


def kind_of_workers(plan: Plan, number: int) -> _Kind:
    """Threads or processes, by what the sources are and how large."""
    slow = all(suffix(source.location).startswith(".hepmc") for source in plan.sources)
    size = sum(source.identity["size"] or 0 for source in plan.sources)
    return ProcessWorker if size >= number * (HEPMC_BYTES_PER_PROCESS if slow else BYTES_PER_PROCESS) else ThreadWorker


def work_together(number: int, workshop: Workshop, books: Books, take: Callable[[Report], None]) -> None:
    """Do all tasks with ``number`` workers.

    Raises:
        Exception: what a worker raised; :class:`StoreError` where one has died.
    """
    inbox: _Inbox = SimpleQueue()
    with _desks(number, workshop, kind_of_workers(workshop.plan, number), inbox) as desks:
        while True:
            for desk in desks:
                if desk.task is None and (task := books.next_task()) is not None:
                    desk.give(task)
            if all(desk.task is None for desk in desks):
                return
            place, message = inbox.get()
            if isinstance(message, BaseException):
                raise message
            if message is None:
                desks[place].task = None
            else:
                take(message)
                for desk in desks:
                    desk.tell_start(books)


@dataclass
class _Desk:
    """A worker, what it does at the moment, and whether it still has to be told where its piece starts."""

    worker: ThreadWorker | ProcessWorker
    task: Task | None = None
    wants_start: bool = False

    def give(self, task: Task) -> None:
        self.task = task
        self.wants_start = isinstance(task, ReadPiece) and task.start is None
        self.worker.give(task)

    def tell_start(self, books: Books) -> None:
        if self.wants_start and isinstance(self.task, ReadPiece) and (start := books.start(self.task.piece)) is not None:
            self.wants_start = False
            self.worker.give(start)


@contextmanager
def _desks(number: int, workshop: Workshop, kind: _Kind, inbox: _Inbox) -> Iterator[list[_Desk]]:
    desks: list[_Desk] = []
    try:
        for place in range(number):
            desks.append(_Desk(kind(workshop, lambda message, place=place: inbox.put((place, message)))))
        yield desks
    finally:
        for desk in desks:
            desk.worker.stop()
