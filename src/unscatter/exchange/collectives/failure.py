"""What a rank says when it has lost others."""

from __future__ import annotations

from collections.abc import Sequence

from unscatter.exchange.collectives.signs import Absent, Verdict

#: What to type; the same for every failure of a synchronous exchange.
_ADVICE = (
    "Resume from the last checkpoint: unscatter resume RUN. "
    "To go on without lost ranks use exchange 'async-ring' (exchange: async-ring in the runcard)."
)


def failure_text(verdict: Verdict, *, rank: int, num_ranks: int, step: int, timeout_s: float, cause: str) -> str:
    """The message of the error: who is missing, since when, at which step, and what to do.

    Args:
        verdict: who is missing.
        rank: the rank that says so.
        num_ranks: ranks in the exchange.
        step: step of that rank.
        timeout_s: time-out of the exchange.
        cause: what the engine said.

    Example:
        >>> verdict = Verdict(lost=(Absent(2, 1829, 30.2),))
        >>> print(failure_text(verdict, rank=3, num_ranks=8, step=1840, timeout_s=30.0, cause="reset").splitlines()[0])
        rank 3 of 8 has heard nothing from rank 2 for 30 s (last at step 1829, now 1840).
    """
    me = f"rank {rank} of {num_ranks}"
    if verdict.lost:
        return (
            f"{me} has heard nothing from {_names(verdict.lost)} for {max(a.silent_s for a in verdict.lost):.0f} s "
            f"({_last(verdict.lost)}, now {step}).\nProbably exited, stopped or cut off: see the log of {_names(verdict.lost)}. {_ADVICE}"
        )
    if verdict.left:
        return (
            f"{me} needs {_names(verdict.left)} at step {step}, which left in good order ({_last(verdict.left)}).\n"
            f"All ranks must make the same number of steps: see the log of {_names(verdict.left)}. {_ADVICE}"
        )
    late = [absent for absent in verdict.late if absent.rank != rank]
    if late:
        return (
            f"{me} has waited up to {timeout_s:g} s for {_names(late)}, alive but not yet as far ({_last(late)}, now {step}).\n"
            f"Raise exchange.timeout_s above the longest step. {_ADVICE}"
        )
    if verdict.late:
        return (
            f"{me} came too late to step {step}: the others had waited up to {timeout_s:g} s for it and have given up.\n"
            f"Raise exchange.timeout_s above the longest step. {_ADVICE}"
        )
    return f"{me} cannot go on at step {step}: all ranks are alive, but a connection between two of them broke: {cause}\n{_ADVICE}"


def _names(absent: Sequence[Absent]) -> str:
    numbers = [str(one.rank) for one in absent]
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    return f"ranks {', '.join(numbers[:-1])} and {numbers[-1]}"


def _last(absent: Sequence[Absent]) -> str:
    step = max(one.step for one in absent)
    return f"last at step {step}" if step >= 0 else "step unknown"
