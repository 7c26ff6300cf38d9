"""Folders in the format of the LHAPDF library, read and written without it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unscatter.errors import PdfGridError
from unscatter.files import TEMPORARY_SUFFIX, atomic_write, is_directory, missing_path, quoted, write_failure
from unscatter.pdfs.grid import PdfGrid
from unscatter.pdfs.lhagrid_info import info_text, read_info
from unscatter.pdfs.lhagrid_text import member_text, read_member
from unscatter.pdfs.pdf_set import PdfSet

#: Names of sets that every program can handle, and every file system with an ending behind; LHAPDF reads NAME/3 as member 3.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}")


def read_lhapdf(folder: str | Path, *, num_members: int | None = None) -> PdfSet:
    """Read a set of parton densities.

    Numbers stay as they are in the files: ``ForcePositive``, with which the library cuts off negative densities, is kept but not applied.

    Args:
        folder: the folder ``NAME`` with ``NAME.info`` and ``NAME_0000.dat``, ``NAME_0001.dat``, ...
        num_members: read so many members only, the central one first.

    Raises:
        PdfGridError: a file is missing or malformed; the message names file and line.
    """
    folder = Path(folder).resolve()
    info, found, pdg_ids = read_info(_info_path(folder))
    if num_members is not None and not 1 <= num_members <= found:
        raise PdfGridError(f"'num_members' must lie between 1 and {found}, what '{folder.name}' has, got {num_members}.")
    members = tuple(_read_member(folder, number, pdg_ids) for number in range(found if num_members is None else num_members))
    return PdfSet(info, members)


def write_lhapdf(folder: str | Path, pdf_set: PdfSet, *, overwrite: bool = False) -> Path:
    """Write a set of parton densities, complete or not at all.

    The LHAPDF library finds it when the parent of the folder is in ``LHAPDF_DATA_PATH``.

    Args:
        folder: where it will stand; its name becomes that of the set.
        pdf_set: what to write.
        overwrite: replace a set that stands there already.

    Returns:
        The folder.

    Raises:
        PdfGridError: the name is not one for a set; something stands there already; the operating system refuses.

    Example:
        >>> import tempfile, torch
        >>> from unscatter.pdfs.pdf_set import PdfInfo
        >>> x, Q = torch.tensor([0.1, 0.2, 0.4, 0.8]), torch.tensor([2.0, 4.0, 10.0])
        >>> grid = PdfGrid(x, Q, (21,), ((1 - x)[:, None] / Q)[None])
        >>> pdf_set = PdfSet.from_replicas(PdfInfo(description="an example"), [grid])
        >>> folder = write_lhapdf(Path(tempfile.mkdtemp()) / "example", pdf_set)
        >>> sorted(path.name for path in folder.iterdir())
        ['example.info', 'example_0000.dat', 'example_0001.dat']
        >>> round(float(read_lhapdf(folder).central.xf(21, 0.2, 4.0)), 6)
        0.2
    """
    # Not resolved: a link would lead elsewhere.
    folder = Path(folder).absolute()
    if not _NAME.fullmatch(folder.name):
        raise PdfGridError(f"'{folder.name}' is no name for a set. Use up to 200 letters, digits and _ . + - only, as in 'my_fit_nlo'.")
    _check_free(folder, overwrite)
    with _new_folder(folder) as aside:
        for number, member in enumerate(pdf_set.members):
            _write(aside / _member_name(folder.name, number), member_text(member, _pdf_type(pdf_set, number)))
        _write(aside / f"{folder.name}.info", info_text(pdf_set))
    return folder


def _info_path(folder: Path) -> Path:
    path = folder / f"{folder.name}.info"
    if not is_directory(folder):
        raise PdfGridError(f"{missing_path(folder)}\nGive the folder of a set, which holds 'NAME.info' and 'NAME_0000.dat'.")
    if not path.is_file():
        others = sorted(other.name for other in folder.glob("*.info"))
        rename = f" There is '{others[0]}': the folder has to have the name of the set." if others else ""
        raise PdfGridError(f"'{folder}' is not a set of parton densities: it has no '{path.name}'.{rename}")
    return path


def _read_member(folder: Path, number: int, pdg_ids: tuple[int, ...]) -> PdfGrid:
    path = folder / _member_name(folder.name, number)
    if not path.is_file():
        raise PdfGridError(f"'{folder}' has no member {number}: '{path.name}' is missing. Copy the set again.")
    grid = read_member(path)
    if sorted(grid.pdg_ids) != sorted(pdg_ids):
        raise PdfGridError(f"'{path}' has the partons {list(grid.pdg_ids)}, but 'Flavors' in '{folder.name}.info' says {list(pdg_ids)}.")
    return grid


def _member_name(name: str, number: int) -> str:
    return f"{name}_{number:04d}.dat"


def _pdf_type(pdf_set: PdfSet, number: int) -> str:
    if number == 0:
        return "central"
    return "replica" if pdf_set.info.error_type.startswith("replicas") else "error"


def _write(path: Path, text: str) -> None:
    with atomic_write(path, raises=PdfGridError) as file:
        file.write(text.encode())


def _check_free(folder: Path, overwrite: bool) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not (folder / f"{folder.name}.info").is_file():
        raise PdfGridError(f"'{folder}' exists and is not a set of parton densities, so it is left alone. Choose another name.")
    if not overwrite:
        raise PdfGridError(
            f"the set '{folder}' exists already and is not written over. "
            f"Choose another name, or remove it: rm -r {quoted(folder)}\n"
            "In Python, overwrite=True replaces it."
        )


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside that takes its place when everything is in it; what stood there before goes last."""
    aside, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{role}{TEMPORARY_SUFFIX}") for role in ("new", "old"))
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        yield aside
        if os.path.lexists(folder):
            folder.rename(old)
        aside.rename(folder)
    except OSError as error:
        raise PdfGridError(write_failure(folder, error)) from error
    finally:
        if os.path.lexists(old) and not os.path.lexists(folder):
            old.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
