"""What a transport counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Counts:
    """Counts since the start of a transport.

    Example:
        >>> Counts(messages_sent=2).statistics()["messages_sent"]
        2.0
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    messages_refused: int = 0

    def statistics(self) -> dict[str, float]:
        """The counts by name."""
        return {name: float(value) for name, value in asdict(self).items()}
