"""What came out of a fit, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unscatter.files import quoted
from unscatter.report.record import ParameterRow, RunRecord, number, passes
from unscatter.report.rounding import percentage, plain_number, with_error

_STOP_REASONS = {
    "converged": "the tests above were passed",
    "out of rounds": "all steps were done, but the tests above were not passed",
    "not judged": "all steps were done; tests were not asked for",
    "interrupted": "it was interrupted",
}


def status(record: RunRecord) -> str:
    """``converged``, ``not converged``, ``convergence not judged`` or ``no result yet``."""
    if record.summary is None:
        return "no result yet"
    if record.summary.get("converged") is None or record.summary.get("stop_reason") == "not judged":
        return "convergence not judged"
    return "converged" if record.summary["converged"] else "not converged"


def summary_sentences(record: RunRecord) -> list[str]:
    """The summary of a run, one fact per sentence."""
    if record.summary is None:
        return unfinished_sentences(record)
    summary = record.summary
    sentences = [
        fitted_sentence(summary),
        *two_sample_sentences(summary),
        settled_sentence(summary),
        stop_sentence(summary),
        *count_sentences(summary),
        errors_sentence(summary) if not record.parameters or has_errors(record.parameters) else "",
        pulls_sentence(record.parameters),
        skipped_sentence(summary),
    ]
    return [sentence for sentence in sentences if sentence]


def unfinished_sentences(record: RunRecord) -> list[str]:
    """What can be said about a run without a result."""
    first = "This run has no result: it is still running, was interrupted, or failed."
    if not record.metrics:
        return [first, "No step has been recorded."]
    last = record.metrics[-1]
    when = f" after {duration(seconds)}" if (seconds := number(last.get("seconds"))) is not None else ""
    return [
        first,
        f"The last recorded step is {last['step']:,}{when}.",
        "The parameters below the heading 'Parameters' are those of that step, not a result; they carry no errors.",
        f"To go on from its last checkpoint: unscatter resume {quoted(record.run.path)}",
    ]


def fitted_sentence(summary: Mapping[str, Any]) -> str:
    """What was fitted, to what, how and for how long."""
    description = str(summary.get("description") or "").rstrip(".")
    problem = f"The problem '{summary.get('problem', 'unknown')}'" + (f" ({description})" if description else "")
    replicas = summary.get("num_replicas") or 1
    how = f"by the method '{summary.get('method', 'unknown')}'" + (f" with {replicas} replicas" if replicas > 1 else "")
    return f"{problem} was fitted to {_events_text(summary)} {how}{_ranks_text(summary)}{_effort_text(summary)}."


def _ranks_text(summary: Mapping[str, Any]) -> str:
    """On how many ranks, and how many of them were lost on the way."""
    ranks = summary.get("num_ranks") or 1
    lost = int((summary.get("exchange") or {}).get("lost_ranks") or 0)
    gone = f" ({lost} of them went silent on the way)" if lost else ""
    return f" on {ranks} ranks{gone}" if ranks > 1 else ""


def two_sample_sentences(summary: Mapping[str, Any]) -> list[str]:
    """The verdict of a fresh discriminator per channel."""
    tests = summary.get("two_sample")
    if not tests:
        return ["No two-sample test was made, so whether synthetic events can be told from measured ones is not known."]
    return [_two_sample_text(channel, test) for channel, test in tests.items()]


def settled_sentence(summary: Mapping[str, Any]) -> str:
    """Whether the averaged parameters stand still."""
    settled = summary.get("settled")
    if not settled:
        return "Whether the averaged parameters have settled was not tested."
    verb = "have settled" if settled.get("passes") else "have not settled"
    drift, name = number(settled.get("value")), settled.get("name") or settled.get("worst")
    if drift is None or name is None:
        return f"The averaged parameters {verb}."
    of = f", of '{name}'," if isinstance(name, str) else ""
    return f"The averaged parameters {verb}: the largest drift{of} is {plain_number(drift, 2)} of its error."


def stop_sentence(summary: Mapping[str, Any]) -> str:
    """Why the fit ended."""
    reason = str(summary.get("stop_reason") or "").rstrip(".")
    return f"Why it stopped: {_STOP_REASONS.get(reason, reason)}." if reason else ""


def count_sentences(summary: Mapping[str, Any]) -> list[str]:
    """Measured and expected numbers of events, where rates were fitted."""
    if not summary.get("rates"):
        return ["Only the shapes of the events were fitted; the number of events carries no information here."]
    measured, expected = summary.get("num_events") or {}, summary.get("expected_counts") or {}
    compared = (
        f"{_count(measured.get(channel))} measured and {_count(expected.get(channel))} expected in channel '{channel}'"
        f"{_count_pull(measured.get(channel), expected.get(channel))}"
        for channel in dict.fromkeys([*measured, *expected])
    )
    return [f"The number of events was fitted as well: {', '.join(compared)}."]


def _count_pull(measured: object, expected: object) -> str:
    """How many of its own standard deviations the measured number is off."""
    found, wanted = number(measured), number(expected)
    if found is None or wanted is None or not wanted > 0:
        return ""
    return f" ({(found - wanted) / wanted**0.5:+.1f} standard deviations)"


def has_errors(parameters: tuple[ParameterRow, ...]) -> bool:
    """Whether any error is quoted; a fit that was not diagnosed may have none."""
    return any(row.sigma is not None for row in parameters)


def errors_sentence(summary: Mapping[str, Any]) -> str:
    """Where the quoted errors come from."""
    match summary.get("error_source"):
        case "replica spread":
            return "Errors are the spread of the replicas, each fitted to its own bootstrap of the events."
        case "Cramer-Rao bound":
            return "Errors are the Cramer-Rao bound: what the best unbiased estimator could reach, not a measured spread of this fit."
        case None:
            return "Where the errors come from is not recorded."
        case other:
            return f"Source of the errors: {other}."


def pulls_sentence(parameters: tuple[ParameterRow, ...]) -> str:
    """How far the parameters are from a known truth."""
    pulls = [row.pull for row in parameters if row.pull is not None]
    if not pulls:
        return ""
    root_mean_square = math.sqrt(sum(pull**2 for pull in pulls) / len(pulls))
    over = f"over {len(pulls)} parameters" if len(pulls) > 1 else "of one parameter"
    return f"The truth is known: the root mean square pull {over} is {root_mean_square:.2f} (1 is expected on average)."


def skipped_sentence(summary: Mapping[str, Any]) -> str:
    """How many steps were lost to numbers that are not finite."""
    share = number(summary.get("skipped_share"))
    return f"{percentage(share)} of the steps were skipped because their numbers were not finite." if share else ""


def verdict(record: RunRecord) -> str:
    """The status as a sentence that says by what test."""
    match status(record):
        case "converged":
            return "The fit converged: it passed the tests listed here."
        case "not converged":
            return "The fit did not converge. Take its parameters and errors with caution."
        case "convergence not judged":
            return "Whether the fit converged was not judged."
        case _:
            return "There is no result yet."


def near_edges(parameters: tuple[ParameterRow, ...]) -> list[str]:
    """Parameters within one error of the end of their range, where estimates and bounds are not to be trusted."""
    return [
        f"'{row.name}' lies within one error of the end of its allowed range ({plain_number(end)}): its error is not reliable there."
        for row in parameters
        for end in (row.low, row.high)
        if end is not None and row.value is not None and row.sigma is not None and abs(row.value - end) < row.sigma
    ]


def below_bound(parameters: tuple[ParameterRow, ...]) -> list[str]:
    """Parameters whose replicas lie much closer together than the events and the prior allow."""
    names = [row.name for row in parameters if row.error is not None and row.bound is not None and row.error < row.bound / 2]
    if not names:
        return []
    return [
        f"The spread of the replicas is less than half of the Cramer-Rao bound for {', '.join(names)}: they are few, had few steps to part "
        "(solve.replicas, solve.steps), or lie where the bound, which is linear, says too much. Trust the larger of the two."
    ]


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(8.44), duration(75.2), duration(7384.0)
        ('8.4 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _events_text(summary: Mapping[str, Any]) -> str:
    counts = summary.get("num_events") or {}
    if not counts:
        return "an unrecorded number of events"
    return " and ".join(f"{_count(count)} in channel '{channel}'" for channel, count in counts.items())


def _count(count: Any) -> str:
    value = number(count)
    if value is None:
        return "an unknown number of events"
    return f"{value:,.0f} events" if value.is_integer() or value >= 100 else f"{value:.1f} events"


def _effort_text(summary: Mapping[str, Any]) -> str:
    steps, seconds, speed = (number(summary.get(key)) for key in ("steps", "seconds", "steps_per_second"))
    text = f": {steps:,.0f} steps" if steps is not None else ""
    if seconds is not None:
        text += f" in {duration(seconds)}"
    return text + (f" ({plain_number(speed, 3)} steps per second)" if speed is not None else "")


def _two_sample_text(channel: str, test: Mapping[str, Any]) -> str:
    verb = "cannot tell" if passes(test) else "can still tell"
    auc, p_value = number(test.get("auc")), number(test.get("p_value"))
    figures = [] if auc is None else [f"area under its ROC curve {with_error(auc, number(test.get('auc_error')))}, 0.5 is no separation"]
    figures += [] if p_value is None else [f"p = {plain_number(p_value, 2)}"]
    bracket = f" ({'; '.join(figures)})" if figures else ""
    return f"Channel '{channel}': a discriminator trained afresh {verb} synthetic from measured events that it has not seen{bracket}."
