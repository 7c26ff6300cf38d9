"""The text of one member in the format ``lhagrid1`` of the LHAPDF library.

A header of ``Key: value`` lines and then one block per region between thresholds, each ended by ``---``::

    PdfType: replica
    Format: lhagrid1
    ---
    1.0e-05 2.0e-05 ... 1.0        nodes in x
    1.65 2.0 ... 4.92              nodes in Q in GeV; the next block begins with the last of them, 4.92
    -5 -4 -3 -2 -1 21 1 2 3 4 5    partons
    0.1 0.2 ...                    x f, one row per node, Q runs faster; one column per parton
    ---

References:
    A. Buckley et al., LHAPDF6, arXiv:1412.7420.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from unscatter.errors import PdfGridError
from unscatter.pdfs.grid import PdfGrid

#: The one format that there is.
FORMAT = "lhagrid1"
#: Ends the header and every block.
_SEPARATOR = "---"
#: Beginning of a number as Fortran writes it, to recognise several without space between them.
_NUMBER = re.compile(r"[-+]?\d*\.\d*(?:[eE][-+]?\d\d)?")
#: A number as programs write it; Python itself also takes 1_0 and the digits of every script, and C and Fortran do not.
_PLAIN_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
#: Partons have at most ten digits, as nuclei.
_PARTON = re.compile(r"[-+]?\d{1,10}", re.ASCII)
#: Significant digits of densities after the first.
_DIGITS = 10


@dataclass(frozen=True)
class _Block:
    """Lines of one region."""

    first_line: int
    lines: Sequence[str]


def read_member(path: Path) -> PdfGrid:
    """Read a ``.dat`` file.

    Raises:
        PdfGridError: the file is missing or malformed; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PdfGridError(f"cannot read '{path}': {error}.") from error
    parser = _Parser(path)
    header, *blocks = parser.split(lines)
    parser.check_header(header)
    if not blocks:
        parser.fail(len(lines), f"there is no block of numbers after the header, which '{_SEPARATOR}' ends")
    return parser.join([parser.parse(block) for block in blocks])


def member_text(grid: PdfGrid, pdf_type: str) -> str:
    """Text of a ``.dat`` file; nodes are exact, densities good to 11 digits.

    Args:
        grid: the member.
        pdf_type: ``central``, ``replica`` or ``error``.
    """
    regions = [_region_text(grid, first, last) for first, last in _regions(grid.Q_nodes_GeV)]
    return f"PdfType: {pdf_type}\nFormat: {FORMAT}\n{_SEPARATOR}\n{''.join(regions)}"


def _regions(Q_nodes: Tensor) -> Iterator[tuple[int, int]]:
    """First node of each region, and the one after its last."""
    starts = [0, *(int(k) + 1 for k in (Q_nodes.diff() == 0).nonzero()), len(Q_nodes)]
    return zip(starts[:-1], starts[1:], strict=True)


def _region_text(grid: PdfGrid, first: int, last: int) -> str:
    rows = grid.values[:, :, first:last].permute(1, 2, 0).reshape(-1, len(grid.pdg_ids)).numpy()
    row_format = " ".join([f"%.{_DIGITS}e"] * rows.shape[1])
    nodes = (" ".join(map(repr, values.tolist())) for values in (grid.x_nodes, grid.Q_nodes_GeV[first:last]))
    partons = " ".join(map(str, grid.pdg_ids))
    return "\n".join([*nodes, partons, *(row_format % tuple(row) for row in rows), _SEPARATOR]) + "\n"


@dataclass(frozen=True)
class _Parser:
    """Reads the parts of a file, whose name stands in every message."""

    path: Path

    def fail(self, line: int, problem: str) -> NoReturn:
        raise PdfGridError(f"'{self.path}', line {line}: {problem}.")

    def split(self, lines: Sequence[str]) -> list[_Block]:
        """Header and blocks, without the separators."""
        ends = [k for k, line in enumerate(lines) if line.strip() == _SEPARATOR]
        rest = next((k for k in range(ends[-1] + 1 if ends else 0, len(lines)) if lines[k].strip()), None)
        if rest is not None:
            problem = f"the file ends without '{_SEPARATOR}' after what begins at line {rest + 1}"
            self.fail(len(lines), f"{problem}. It may be cut short: copy it again")
        if not ends:
            self.fail(1, "the file is empty")
        starts = [0, *(end + 1 for end in ends[:-1])]
        return [_Block(start + 1, lines[start:end]) for start, end in zip(starts, ends, strict=True)]

    def check_header(self, header: _Block) -> None:
        for number, line in enumerate(header.lines, start=header.first_line):
            key, colon, value = line.partition(":")
            if line.strip() and not colon:
                self.fail(number, f"the header has lines such as 'Format: {FORMAT}', got '{shown(line)}'")
            if key.strip() == "Format":
                if value.strip() != FORMAT:
                    self.fail(number, f"the format is '{value.strip()}', and '{FORMAT}' is the one that can be read")
                return
        self.fail(header.first_line, f"the header has no line 'Format: {FORMAT}'")

    def parse(self, block: _Block) -> PdfGrid:
        """The grid of one region."""
        if len(block.lines) < 4:
            self.fail(block.first_line, "a block has lines of nodes in x, nodes in Q, partons and then densities, but here it ends already")
        x_nodes, Q_nodes = (self._numbers(block, k) for k in (0, 1))
        pdg_ids = self._partons(block)
        rows = self._rows(block, pdg_ids, len(x_nodes) * len(Q_nodes))
        values = torch.from_numpy(rows).reshape(len(x_nodes), len(Q_nodes), len(pdg_ids)).permute(2, 0, 1)
        try:
            return PdfGrid(_float64(x_nodes), _float64(Q_nodes), pdg_ids, values)
        except PdfGridError as error:
            raise PdfGridError(f"'{self.path}', block at line {block.first_line}: {error}") from error

    def join(self, grids: Sequence[PdfGrid]) -> PdfGrid:
        """One grid of all regions, which share the nodes in x and the partons."""
        first = grids[0]
        for number, grid in enumerate(grids[1:], start=2):
            if not torch.equal(grid.x_nodes, first.x_nodes) or grid.pdg_ids != first.pdg_ids:
                raise PdfGridError(f"'{self.path}': block {number} has other nodes in x or other partons than block 1.")
            end, start = float(grids[number - 2].Q_nodes_GeV[-1]), float(grid.Q_nodes_GeV[0])
            if start != end:
                raise PdfGridError(f"'{self.path}': block {number} begins at Q = {start:g} GeV, but the one before ends at {end:g} GeV.")
        Q_nodes = torch.cat([grid.Q_nodes_GeV for grid in grids])
        return PdfGrid(first.x_nodes, Q_nodes, first.pdg_ids, torch.cat([grid.values for grid in grids], -1))

    def _numbers(self, block: _Block, k: int) -> list[float]:
        return [self._number(word, block.first_line + k) for word in block.lines[k].split()]

    def _number(self, word: str, line: int) -> float:
        if not _PLAIN_NUMBER.fullmatch(word):
            self.fail(line, f"'{shown(word)}' is not a number{_glued(word)}")
        value = float(word)
        if not math.isfinite(value):
            self.fail(line, f"'{word}' is not finite")
        return value

    def _partons(self, block: _Block) -> tuple[int, ...]:
        words, line = block.lines[2].split(), block.first_line + 2
        for word in words:
            if not _PARTON.fullmatch(word):
                self.fail(line, f"here stand the partons, integers such as 21 for the gluon, got '{shown(word)}'")
        return tuple(map(int, words))

    def _rows(self, block: _Block, pdg_ids: Sequence[int], num_rows: int) -> np.ndarray:
        first, lines = block.first_line + 3, block.lines[3:]
        words = [line.split() for line in lines]
        for k, row in enumerate(words):
            if len(row) != len(pdg_ids):
                # Numbers that are glued together are the usual reason.
                for word in row:
                    self._number(word, first + k)
                self.fail(first + k, f"a row needs {len(pdg_ids)} numbers, one per parton of line {first - 1}, got {len(row)}")
        if len(words) != num_rows:
            self.fail(first, f"{num_rows} rows must follow, one per pair of nodes in x and Q, but {len(words)} do until '{_SEPARATOR}'")
        plain = all(line.isascii() and "_" not in line for line in lines)
        try:
            values = np.array(words if plain else [np.nan], np.float64)
        except ValueError:
            values = np.full(1, np.nan)
        if not np.isfinite(values).all():
            values = np.array([[self._number(word, first + k) for word in row] for k, row in enumerate(words)])
        return values


def _float64(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def _glued(word: str) -> str:
    parts = [part for part in _NUMBER.findall(word) if any(character.isdigit() for character in part)]
    if len(parts) < 2 or "".join(parts) != word:
        return ""
    return f": {len(parts)} numbers stand without a space between them, as Fortran writes them when a column is too narrow"


def shown(text: str) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= 60 else f"{text[:57]}..."
