"""Commands about theory tables: ``unscatter tables build`` and ``unscatter tables show``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from unscatter.errors import SettingsError

if TYPE_CHECKING:
    from unscatter.theories.dis.settings import TableSettings

# The theory imports PyTorch, which takes seconds and which help does not need: the commands import it when they run.

tables_app = typer.Typer(name="tables", no_args_is_help=True, help="Build and inspect theory tables of deep-inelastic scattering.")


@tables_app.command()
def build(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The new file, such as my_nlo.npz.", show_default=False)],
    order: Annotated[str, typer.Option(metavar="LO|NLO|NNLO", help="Order of perturbation theory.")] = "NLO",
    alpha_s: Annotated[float, typer.Option("--alpha-s", metavar="NUMBER", help="Strong coupling at the mass of the Z.")] = 0.118,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="Another setting, as in Q0_GeV=1.6; 'unscatter tables show lo' lists them. May be repeated.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file if it exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only errors and the exit code.")] = False,
) -> None:
    """Compute a theory table with hoppet, which is in the extra 'qcd'.

    It takes some ten seconds. The tables lo, nlo and nnlo come with unscatter and need no building.
    """
    from unscatter.theories.dis.building import build_file

    settings = table_settings(order, alpha_s, overrides or [])
    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task(f"{settings.order} table", total=None)
        build_file(settings, output, replace=force, progress=lambda done, total: progress.update(task, completed=done, total=total))
    if not quiet:
        show(str(output))


@tables_app.command()
def show(table: Annotated[str, typer.Argument(metavar="NAME|FILE", help="lo, nlo or nnlo, or a file.", show_default=False)]) -> None:
    """Show what a table was made for, and check that it is intact."""
    from unscatter.theories.dis.storage import table_facts

    facts = table_facts(table)
    rows = {"file": facts["path"], "size": f"{facts['size'] / 1e6:.2f} MB", "format version": facts["version"]}
    rows |= {"computed by": facts["engine"], "checksum": f"{facts['checksum'][:16]}... (SHA-256, correct)"}
    rows |= facts["settings"]
    for name, value in rows.items():
        sys.stdout.write(f"{name:<16} {_plain(value)}\n")


def table_settings(order: str, alpha_s: float, overrides: Sequence[str]) -> TableSettings:
    """Settings from the options of the command line.

    Raises:
        SettingsError: an override that is not KEY=VALUE, an unknown key, an impossible value.
    """
    from unscatter.theories.dis.settings import TableSettings

    values: dict[str, Any] = {"order": order.upper(), "alpha_s_MZ": alpha_s}
    for text in overrides:
        name, _, value = text.partition("=")
        values[name.strip()] = _value(name.strip(), value, text)
    return TableSettings.from_mapping(values)


def _value(name: str, value: str, text: str) -> Any:
    if name == "order":
        return value.strip().upper()
    try:
        return tuple(json.loads(f"[{value}]")) if "," in value else json.loads(value)
    except ValueError as error:
        raise SettingsError(f"'--set {text}' is not KEY=NUMBER. Write for example --set Q0_GeV=1.6 or --set num_Q_nodes=10,14.") from error


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
