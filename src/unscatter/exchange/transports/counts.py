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

    def sent(self, num_bytes: int) -> None:
        """Count a message that was sent."""
        self.messages_sent += 1
        self.bytes_sent += num_bytes

    def received(self, num_bytes: int) -> None:
        """Count a message that was received whole."""
        self.messages_received += 1
        self.bytes_received += num_bytes

    def statistics(self) -> dict[str, float]:
        """The counts by name."""
        return {name: float(value) for name, value in asdict(self).items()}
