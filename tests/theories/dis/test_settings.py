from __future__ import annotations

import dataclasses

import pytest

from unscatter.errors import SettingsError
from unscatter.theories.dis.settings import TableSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order": "nlo"}, "Did you mean 'NLO'"),
        ({"alpha_s_MZ": 0.0}, "'alpha_s_MZ' must be a positive number"),
        ({"alpha_s_MZ": 0.35}, "between 0.05 and 0.2"),
        ({"Q0_GeV": 1.4}, "scales must increase"),
        ({"Q0_GeV": 5.0}, "scales must increase"),
        ({"Q_max_GeV": float("nan")}, "'Q_max_GeV' must be a positive number"),
        ({"x_min": 0.5}, "'x_min' must lie between"),
        ({"num_x_nodes": 5}, "needs 12 to 200 nodes in x"),
        ({"num_x_nodes": 1_000_000_000}, "needs 12 to 200 nodes in x"),
        ({"num_Q_nodes": (4, 100_000_000)}, r"4 to 60 in Q .*got 50 and \(4, 100000000\)"),
        ({"charm_mass_GeV": 1e-300}, "'charm_mass_GeV' must lie between 0.5 and 10000, got 1e-300"),
        ({"top_mass_GeV": 1e308}, "'top_mass_GeV' must lie between 1 and 10000"),
        ({"top_mass_GeV": 10**400}, "'top_mass_GeV' must lie between"),
        ({"MW_GeV": 1e-300}, "'MW_GeV' must lie between"),
        ({"Q_max_GeV": 1e300}, "'Q_max_GeV' must lie between 1 and 1e"),
        ({"num_x_nodes": 50.5}, "'num_x_nodes' must be a whole number, got 50.5"),
        ({"num_Q_nodes": 10}, "'num_Q_nodes' must be two whole numbers"),
        ({"Q0_GeV": "1.6"}, "'Q0_GeV' must be a number"),
        ({"sin2_theta_W": 1.5}, "square of a sine"),
        ({"Q0_GEV": 1.6}, "Did you mean 'Q0_GeV'"),
    ],
)
def test_impossible_settings_are_refused_in_words(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TableSettings.from_mapping(values)


def test_settings_survive_a_mapping() -> None:
    settings = TableSettings(order="NNLO", num_Q_nodes=(8, 12))
    assert TableSettings.from_mapping(dataclasses.asdict(settings)) == settings
