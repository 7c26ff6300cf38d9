"""Ranks that do not fit together, do not come, or use torch.distributed themselves; and settings that are impossible."""

from __future__ import annotations

import pytest

from tests.exchange.collectives.workers import absent, beside_a_group_of_the_user, disagree
from tests.exchange.ranks import run_ranks, values
from unscatter.errors import SettingsError
from unscatter.exchange.collectives import Grouped, LocalSteps
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World


def test_other_tensors_are_refused_with_both_descriptions() -> None:
    first, second = values(run_ranks(2, disagree))
    assert "[4]" in second["start"]
    assert "[3]" in second["start"]
    assert all("not exchange the same tensors" in text for text in (*first.values(), *second.values()))


def test_default_group_of_the_user_is_left_alone() -> None:
    for found in values(run_ranks(2, beside_a_group_of_the_user)):
        assert found == {"before": 0.5, "left behind": False, "during": 0.5, "sum of the user": 1.0, "after": 0.5}


def test_rank_that_does_not_join_is_named_on_all_others() -> None:
    for rank, text in enumerate(values(run_ranks(3, absent, 2))[:2]):
        assert f"rank {rank} of 3 has waited 1.5 s for the other ranks to join the exchange; missing: 2." in text


def test_intervals_below_one_step_are_refused() -> None:
    rendezvous = Rendezvous.join(World())
    with pytest.raises(SettingsError, match=r"set exchange\.every to 1 or more"):
        LocalSteps(rendezvous, every=0)
    with pytest.raises(SettingsError, match=r"set exchange\.outer_every to 1 or more"):
        Grouped(rendezvous, outer_every=0)
    with pytest.raises(SettingsError, match=r"exchange\.group_size"):
        Grouped(rendezvous, group_size=0)
