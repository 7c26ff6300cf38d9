r"""Combined neutral-current cross sections of H1 and ZEUS, and what densities predict for them.

The numbers are those of the package ``nnpdf-data``, with the uncertainties of each point as absolute values: statistical, systematic
without correlation, and 169 sources that are fully correlated between points,

.. math:: C_{ij} = \delta_{ij} \sum_u \sigma_{iu}^2 + \sum_c \sigma_{ic} \sigma_{jc}.

Statistical uncertainties are additive and all others multiplicative: per cent of the cross section in the publication, and here of the
measured value, not of a prediction.  Fits that minimise such a chi-square are biased low (G. d'Agostini, Nucl. Instrum. Meth. A346 (1994)
306); as a measure of agreement it serves.  The sources are common to all sets, so that chi-squares of different sets are not independent.

References:
    H1 and ZEUS, arXiv:1506.06042; NNPDF, arXiv:2109.02653.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from unscatter.errors import DataError, MissingExtraError
from unscatter.files import did_you_mean
from unscatter.physics.dis_cross_sections import nc_coefficients, nc_reduced
from unscatter.theories.dis.binned import BinnedData
from unscatter.theories.dis.tables import DisTables


@dataclass(frozen=True)
class _Source:
    folder: str
    observable: str
    lepton: str
    sqrt_s_GeV: float


#: Sets by name: current, lepton and energy in the centre of mass in GeV.
HERA_SETS: Mapping[str, _Source] = {
    "NC_ep_318": _Source("HERA_NC_318GEV", "EP-SIGMARED", "e+", 318.0),
    "NC_em_318": _Source("HERA_NC_318GEV", "EM-SIGMARED", "e-", 318.0),
    "NC_ep_300": _Source("HERA_NC_300GEV", "EP-SIGMARED", "e+", 300.0),
    "NC_ep_251": _Source("HERA_NC_251GEV", "EP-SIGMARED", "e+", 251.0),
    "NC_ep_225": _Source("HERA_NC_225GEV", "EP-SIGMARED", "e+", 225.0),
}

#: Uncertainties of this type are not shared between points; every other type is one source.
_UNCORRELATED = "UNCORR"


def load_hera(name: str, *, commondata: str | Path | None = None) -> BinnedData:
    """Read one set.

    Args:
        name: one of :data:`HERA_SETS`, such as ``NC_ep_318`` for positrons at 318 GeV.
        commondata: folder with the sets; by default that of the installed package ``nnpdf-data``.

    Raises:
        DataError: an unknown name; a file is missing or malformed.
        MissingExtraError: ``nnpdf-data`` is not installed.
    """
    if name not in HERA_SETS:
        raise DataError(f"there is no set '{name}'.{did_you_mean(name, list(HERA_SETS))} Known are {', '.join(HERA_SETS)}.")
    source = HERA_SETS[name]
    folder = (_installed() if commondata is None else Path(commondata)) / source.folder
    bins = _read(folder / f"kinematics_{source.observable}.yaml", "bins")
    points = {key: _column(folder, bins, key) for key in ("x", "Q2", "y")}
    values = _values(folder / f"data_{source.observable}.yaml")
    covariance = _covariance(folder / f"uncertainties_{source.observable}.yaml", len(values))
    columns = {key: torch.from_numpy(column) for key, column in (points | {"values": values, "covariance": covariance}).items()}
    return BinnedData(name=f"HERA {name}", lepton=source.lepton, sqrt_s_GeV=source.sqrt_s_GeV, **columns)


def hera_operator(data: BinnedData, tables: DisTables) -> Tensor:
    r"""Linear operator of the reduced cross sections of photon and Z on the densities at the starting scale of the tables.

    .. math:: \sigma_{r,i} = \sum_{fk} O_{ifk}\, x f_f(x_k, Q_0)

    A prediction is ``torch.einsum("pfk,fk->p", operator, densities)``.  Radiative corrections are in the data.

    Returns:
        ``[points, 8, x nodes]``, float64.

    Raises:
        TableError: points outside the tables; cut them, see :meth:`~unscatter.theories.dis.binned.BinnedData.cut`.
    """
    coefficients = nc_reduced(
        nc_coefficients(data.Q2, data.y, lepton=data.lepton, sin2_theta_W=tables.settings.sin2_theta_W, MZ_GeV=tables.settings.MZ_GeV),
        data.y,
    )
    return tables.combination(coefficients, data.x, data.Q2)


def _installed() -> Path:
    # Only the place is asked for: importing the package would bring pandas and more with it.
    spec = importlib.util.find_spec("nnpdf_data")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the data of HERA need the package nnpdf-data, which is not installed.\nInstall it: pip install 'unscatter[qcd]'"
        )
    return Path(spec.submodule_search_locations[0]) / "commondata"


def _read(path: Path, key: str) -> Any:
    """One entry of a YAML file."""
    return _load(path, key)[key]


def _load(path: Path, *keys: str) -> Mapping[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"cannot read '{path}': {' '.join(str(error).split())}.") from error
    missing = [key for key in keys if not isinstance(content, dict) or not content.get(key)]
    if missing:
        _malformed(path, f"it has no '{missing[0]}'")
    return content


def _values(path: Path) -> NDArray[np.float64]:
    values = _read(path, "data_central")
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        _malformed(path, "a value is no number", error)


def _column(folder: Path, bins: list[Any], key: str) -> NDArray[np.float64]:
    try:
        return np.array([point[key]["mid"] for point in bins], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        _malformed(folder, f"a bin of the kinematics has no number '{key}'", error)


def _covariance(path: Path, num_points: int) -> NDArray[np.float64]:
    content = _load(path, "definitions", "bins")
    definitions, bins = content["definitions"], content["bins"]
    try:
        sigma = np.array([[point[name] for name in definitions] for point in bins], np.float64)
        alone = np.array([definition["type"] == _UNCORRELATED for definition in definitions.values()])
    except (KeyError, TypeError, ValueError) as error:
        _malformed(path, "a source of uncertainty has no number or no type", error)
    if len(sigma) != num_points:
        _malformed(path, f"it has {len(sigma)} points, but there are {num_points} values")
    return np.diag(np.square(sigma[:, alone]).sum(1)) + sigma[:, ~alone] @ sigma[:, ~alone].T


def _malformed(path: Path, problem: str, cause: Exception | None = None) -> NoReturn:
    raise DataError(f"'{path}' is malformed: {problem}.\nInstall the data again: pip install --force-reinstall nnpdf-data") from cause
