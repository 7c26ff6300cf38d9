"""Example data that come with the package; where they are from stands in ``data/README.md`` beside this file."""

from __future__ import annotations

from pathlib import Path

from unscatter.errors import SettingsError
from unscatter.files import did_you_mean

_FOLDER = Path(__file__).parent / "data"


def example_file(name: str) -> Path:
    """Where an example file of the package lies.

    Raises:
        SettingsError: there is none of that name.

    Example:
        >>> example_file("pythia_nc_eic_proton.parquet").exists()
        True
    """
    known = sorted(file.name for file in _FOLDER.iterdir() if file.name != "README.md")
    if name not in known:
        raise SettingsError(f"there is no example '{name}'; the package has {known}.{did_you_mean(name, known)}")
    return _FOLDER / name
