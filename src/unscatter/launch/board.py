"""The rendezvous of a local job, kept by the launcher so that it outlives every rank."""

from __future__ import annotations

from datetime import timedelta

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.errors import ExchangeError


def host_board() -> TCPStore:
    """A board at a free port of this machine, for as long as the object lives.

    Raises:
        ExchangeError: no port can be opened.

    Example:
        >>> host_board().port > 0
        True
    """
    try:
        return TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=30), wait_for_workers=False)
    except (RuntimeError, OSError) as error:
        raise ExchangeError(
            f"no port can be opened for the rendezvous of the ranks: {str(error).splitlines()[0]}\n"
            "Is this process allowed to use the network of its own machine?"
        ) from error
