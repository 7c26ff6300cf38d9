"""What is said where Horovod is missing, and where it puts ranks; its laws are tested with those of the others."""

from __future__ import annotations

import sys

import pytest

from unscatter.errors import MissingExtraError
from unscatter.exchange.horovod import Horovod, _slot
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World


def test_missing_horovod_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "horovod", None)
    monkeypatch.setitem(sys.modules, "horovod.torch", None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps horovod"):
        Horovod(Rendezvous.join(World()))


def test_places_count_nodes_that_have_a_rank_of_the_same_local_number() -> None:
    places = [[0, 0, 2], [0, 1, 2], [1, 0, 1]]
    slots = [_slot(places, rank) for rank in range(3)]
    assert [(slot["cross_rank"], slot["cross_size"]) for slot in slots] == [(0, 2), (0, 1), (1, 2)]
    assert [slot["hostname"] for slot in slots] == ["node0", "node0", "node1"]
