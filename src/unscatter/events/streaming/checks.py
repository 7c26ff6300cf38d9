"""What channels must be like to be streamed together."""

from __future__ import annotations

from collections.abc import Sequence

from unscatter.errors import ColumnError, EventsError
from unscatter.events.streaming.channel import Channel


def check_channels(channels: Sequence[Channel]) -> None:
    """Refuse channels that cannot stand in one tensor, or have no events.

    Raises:
        EventsError: there is no channel, or one without events.
        ColumnError: the channels have different columns.
    """
    if not channels:
        raise EventsError("at least one channel is needed, got no channels.")
    first = channels[0]
    for channel in channels:
        if channel.table.columns != first.table.columns:
            raise ColumnError(
                f"channel '{channel.name}' has the columns {list(channel.table.columns)}, but channel '{first.name}' has "
                f"{list(first.table.columns)}.\nChoose the same columns for all channels."
            )
        if channel.num_rows == 0:
            raise EventsError(f"channel '{channel.name}' has no events here.\nGive more events.")
