"""The ``.info`` file of a set in the format of the LHAPDF library: YAML with keys of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from unscatter.errors import PdfGridError
from unscatter.files import did_you_mean
from unscatter.pdfs.grid import AlphaS
from unscatter.pdfs.lhagrid_text import FORMAT, shown
from unscatter.pdfs.pdf_set import PdfInfo, PdfSet
from unscatter.yaml_nodes import CheckedValues, UnreadableError, load_checked

#: Fields of :class:`PdfInfo` by their key in the file.
_FIELDS = {
    "SetDesc": "description",
    "SetIndex": "set_index",
    "Authors": "authors",
    "Reference": "reference",
    "DataVersion": "data_version",
    "Particle": "particle",
    "OrderQCD": "order_qcd",
    "FlavorScheme": "flavour_scheme",
    "NumFlavors": "num_flavours",
    "ErrorType": "error_type",
    "MZ": "MZ_GeV",
    "AlphaS_MZ": "alpha_s_MZ",
    "AlphaS_OrderQCD": "alpha_s_order_qcd",
}
#: Quarks in the order of ``quark_masses_GeV``.
_MASSES = ("MDown", "MUp", "MStrange", "MCharm", "MBottom", "MTop")
#: Without these a set cannot be used by the LHAPDF library, either.
_REQUIRED = ("SetDesc", "Format", "NumMembers", "Flavors", "XMin", "XMax", "QMin", "QMax")
#: Values with a meaning.
_WORDS = (FORMAT, "ipol", "variable", "fixed", "replicas")
#: Keys that follow from the grids, or that are handled one by one.
_OTHERS = ("Format", "NumMembers", "Flavors", "XMin", "XMax", "QMin", "QMax", *_MASSES, "AlphaS_Type", "AlphaS_Qs", "AlphaS_Vals")

#: Lowest and highest value of a number in the file: measured are 0.118 and 91.19 GeV, and sets that vary them stay far inside.
_LIMITS = {"AlphaS_MZ": (0.01, 0.3), "MZ": (10.0, 1000.0)}


class _Loader(CheckedValues, yaml.SafeLoader):
    """PyYAML's safe loader; a date is text, as which LHAPDF reads it."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012 (PyYAML wants a plain class attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_info(path: Path) -> tuple[PdfInfo, int, tuple[int, ...]]:
    """Read an ``.info`` file.

    Returns:
        What it says about the set, the number of members, and the partons.

    Raises:
        PdfGridError: the file cannot be read, is no YAML, lacks a key, or a value is of the wrong kind.
    """
    values = _load(path)
    missing = [key for key in _REQUIRED if key not in values]
    if missing:
        near = did_you_mean(missing[0], [key for key in values if key not in _FIELDS and key not in _OTHERS])
        raise PdfGridError(f"'{path}' lacks {_quoted(missing)}.{near} The LHAPDF library cannot use it without, either.")
    if values["Format"] != FORMAT:
        raise PdfGridError(f"'{path}': the format is '{values['Format']}', and '{FORMAT}' is the one that can be read.")
    num_members, pdg_ids = _converted(path, values, "NumMembers", int), tuple(_list(path, values, "Flavors", int))
    return _info(path, values), num_members, pdg_ids


def _load(path: Path) -> Mapping[str, Any]:
    try:
        values, node = load_checked(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise PdfGridError(f"cannot read '{path}': {error}.") from error
    except UnreadableError as error:
        raise PdfGridError(f"'{path}' {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise PdfGridError(f"'{path}'{where}: {problem}. Text with a colon inside needs quotes.") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise PdfGridError(f"'{path}' must consist of lines such as 'Format: {FORMAT}'.")
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if (before := lines.setdefault(str(key.value), line)) != line:
            raise PdfGridError(f"'{path}' has the key '{key.value}' twice, in lines {before} and {line}. Remove one of the two.")
    return values


def _info(path: Path, values: Mapping[str, Any]) -> PdfInfo:
    defaults = PdfInfo(description="")
    known = {name: _converted(path, values, key, type(getattr(defaults, name))) for key, name in _FIELDS.items() if key in values}
    assumed = dict(zip(_MASSES, defaults.quark_masses_GeV, strict=True))
    for key, (low, high) in _LIMITS.items():
        if key in values and not low <= known[_FIELDS[key]] <= high:
            raise PdfGridError(f"'{path}': '{key}' must lie between {low:g} and {high:g}, got {values[key]}.")
    _check_range(path, values, "XMin", "XMax", 1.0)
    _check_range(path, values, "QMin", "QMax", math.inf)
    masses = tuple(_convert(path, key, (assumed | dict(values))[key], float) for key in _MASSES)
    further = {str(key): value for key, value in values.items() if key not in _FIELDS and key not in _OTHERS}
    return PdfInfo(**known, quark_masses_GeV=masses, alpha_s=_alpha_s(path, values), further=further)


def _check_range(path: Path, values: Mapping[str, Any], low_key: str, high_key: str, highest: float) -> None:
    """The grids say themselves where they begin and end, but other programs believe this."""
    low, high = (_converted(path, values, key, float) for key in (low_key, high_key))
    if not 0 < low < high <= highest:
        upper = f", which is at most {highest:g}" if highest < math.inf else ""
        raise PdfGridError(f"'{path}': '{low_key}' must be positive and below '{high_key}'{upper}, got {low:g} and {high:g}.")


def _alpha_s(path: Path, values: Mapping[str, Any]) -> AlphaS | None:
    """The coupling where it is tabulated; other sets let LHAPDF compute it."""
    present = [key for key in ("AlphaS_Qs", "AlphaS_Vals") if key in values]
    if not present and values.get("AlphaS_Type") != "ipol":
        return None
    if len(present) < 2:
        raise PdfGridError(f"'{path}': 'AlphaS_Qs' and 'AlphaS_Vals' belong together, and only {_quoted(present) or 'none'} is there.")
    Q_nodes, couplings = (torch.tensor(_list(path, values, key, float), dtype=torch.float64) for key in present)
    try:
        return AlphaS(Q_nodes, couplings)
    except PdfGridError as error:
        raise PdfGridError(f"'{path}', 'AlphaS_Qs' and 'AlphaS_Vals': {error}") from error


def _list(path: Path, values: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    if not isinstance(values[key], list):
        raise PdfGridError(f"'{path}': '{key}' must be a list such as [1, 2, 3], got {values[key]!r}.")
    return [_convert(path, key, item, kind) for item in values[key]]


def _converted(path: Path, values: Mapping[str, Any], key: str, kind: type) -> Any:
    return _convert(path, key, values[key], kind)


def _convert(path: Path, key: str, value: Any, kind: type) -> Any:
    """To text, an integer or a number; YAML 1.1 takes 1e-9 for text."""
    try:
        if kind is not str and (isinstance(value, bool) or not math.isfinite(float(value))):
            raise ValueError
        if kind is int and float(value) != int(float(value)):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        wanted = "an integer" if kind is int else "a finite number"
        raise PdfGridError(f"'{path}': '{key}' must be {wanted}, got {shown(repr(value))}.") from None


def _quoted(keys: list[str]) -> str:
    return ", ".join(f"'{key}'" for key in keys)


def info_text(pdf_set: PdfSet) -> str:
    """Text of the ``.info`` file of a set."""
    info, grid = pdf_set.info, pdf_set.central
    values: dict[str, Any] = {key: getattr(info, name) for key, name in _FIELDS.items() if not key.startswith("AlphaS")}
    values |= {"Format": FORMAT, "NumMembers": len(pdf_set.members), "Flavors": list(grid.pdg_ids)}
    x, Q = grid.x_nodes.tolist(), grid.Q_nodes_GeV.tolist()
    values |= {"XMin": x[0], "XMax": x[-1], "QMin": Q[0], "QMax": Q[-1]}
    values |= dict(zip(_MASSES, info.quark_masses_GeV, strict=True))
    values |= {key: getattr(info, name) for key, name in _FIELDS.items() if key.startswith("AlphaS")}
    if info.alpha_s is not None:
        values |= {"AlphaS_Type": "ipol", "AlphaS_Qs": info.alpha_s.Q_nodes_GeV.tolist(), "AlphaS_Vals": info.alpha_s.values.tolist()}
    return "".join(f"{key}: {_yaml(value)}\n" for key, value in (values | dict(info.further)).items())


def _yaml(value: Any) -> str:
    """JSON is YAML; words with a meaning stay bare, for programs that do not know quotes."""
    return value if value in _WORDS else json.dumps(value, ensure_ascii=False, default=str)
