"""Reports: run directory in, one self-contained HTML page and figures for papers out."""

from unscatter.report.comparison import ComparisonRow, ComparisonTable, comparison_table, write_comparison
from unscatter.report.record import read_record
from unscatter.report.writing import write_report

__all__ = ["ComparisonRow", "ComparisonTable", "comparison_table", "read_record", "write_comparison", "write_report"]
