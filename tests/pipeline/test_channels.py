"""Names of channels lead nowhere but to files beside one another."""

import pytest
import torch

from unscatter.arrays import Grid
from unscatter.errors import SettingsError
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.theories import FunctionTheory


def problem(channel: str) -> Problem:
    grid = Grid.from_axes({"time_s": torch.linspace(0, 10, 11)})
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), grid, (1,), channels=(channel,))
    return Problem("decay", ParameterSpace.from_ranges({"rate": (0.1, 2.0)}), Pipeline(theory))


IMPOSSIBLE = ("../../evil", "/tmp/evil", "a\\b", "..", ".", ".hidden", "", "  ", "a\0b", "a\nb", "\x1b[31m", "\udc80")
TOO_LONG = ("n" * 101, "漢" * 34, "é" * 51)


@pytest.mark.parametrize("name", IMPOSSIBLE + TOO_LONG)
def test_a_channel_is_not_named_as_no_file_can_be(name: str) -> None:
    with pytest.raises(SettingsError, match="is no name for a channel"):
        problem(name)


@pytest.mark.parametrize("name", ["proton", "e+p, 18 x 275 GeV", "Größe", "a..b", "n" * 100, "漢" * 33])
def test_other_names_are_free(name: str) -> None:
    assert problem(name).channels == (name,)
