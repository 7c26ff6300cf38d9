"""The report of one run."""

from __future__ import annotations

from pathlib import Path

from unscatter.report import tables, words
from unscatter.report.curves import combinations_sentences, curve_figures, curve_tables, families_of
from unscatter.report.estimates import parameter_summary, replica_scatter
from unscatter.report.histories import loss_history, parameter_history
from unscatter.report.measurements import measurement_figures, measurement_lines
from unscatter.report.page import Picture, render, save_pictures
from unscatter.report.record import RunRecord, read_record
from unscatter.report.slices import slice_figures, sliced_channels
from unscatter.report.spectra import spectrum_figures
from unscatter.report.style import ReportFigure, figure_style
from unscatter.runs import RunDirectory


def write_report(run: RunDirectory) -> Path:
    """Write ``report.html`` and the files in ``figures/`` of a run directory.

    The page holds everything that it shows, needs no network and no other file, and is made from nothing but the run directory.  A run
    that has not finished, or has failed, gets a report of what is there; whatever is missing is named.

    Returns:
        The path of the page.

    Raises:
        RunError: a file of the run is damaged, or the directory cannot be written.
    """
    record = read_record(run)
    with figure_style():
        sections = {name: save_pictures(figures, run.figures) for name, figures in figures_of(record).items()}
    return run.write_report(_page(record, sections))


def figures_of(record: RunRecord) -> dict[str, list[ReportFigure]]:
    """The figures of a report by section; an empty list where there is nothing to draw."""
    return {
        "estimates": parameter_summary(record),
        "histories": parameter_history(record),
        "curves": curve_figures(families_of(record)),
        "events": spectrum_figures(record.spectra),
        "slices": slice_figures(sliced_channels(record.slices)),
        "measurements": measurement_figures(record),
        "losses": loss_history(record),
        "replicas": replica_scatter(record),
    }


def _page(record: RunRecord, sections: dict[str, list[Picture]]) -> str:
    summary, families = record.summary or {}, families_of(record)
    return render(
        "report.html.j2",
        title=record.name,
        status=words.status(record),
        verdict=words.verdict(record),
        sentences=words.summary_sentences(record),
        lines=tables.parameter_lines(record.parameters),
        last_values=[] if record.parameters else tables.last_values(record),
        last_step=record.metrics[-1]["step"] if record.metrics else None,
        null_directions=[str(text) for text in summary.get("null_directions") or ()],
        weak_directions=[str(text) for text in summary.get("weak_directions") or ()],
        warnings=[*words.near_edges(record.parameters), *words.below_bound(record.parameters)],
        families=families,
        curve_tables=curve_tables(families),
        combinations=combinations_sentences(summary),
        measurement_lines=measurement_lines(record),
        sections=sections,
        num_replicas=record.num_replicas,
        settings=record.settings,
        settings_file=record.settings_file,
        provenance=[tables.flattened(entry) for entry in record.provenance],
        missing=record.missing(),
        log_tail="" if record.summary else record.log_tail,
        files=tables.files_of(record.run.path),
    )
