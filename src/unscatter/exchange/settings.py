"""Which exchange, and its options."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ExchangeName = Literal["none", "async-ring", "allreduce", "ring", "grouped", "rma", "quorum", "localsteps", "horovod"]


class ExchangeSettings(BaseModel):
    """How the ranks of a job share the generator.

    Example:
        >>> ExchangeSettings(name="grouped", group_size=8).outer_every
        16
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: ExchangeName = "async-ring"
    """``async-ring`` waits for nobody; the others make all ranks go in step: ``allreduce``, ``ring``, ``grouped``, ``rma``, ``quorum``,
    ``localsteps``, ``horovod``. With ``none`` ranks share nothing: each fits all events, with a seed and a run directory of its own."""
    ranks: int | None = Field(default=None, ge=1)
    """Ranks to start on this machine; one when null. A launcher such as torchrun, srun or mpiexec decides itself."""
    timeout_s: float = Field(default=60.0, gt=0)
    """How long any call waits for other ranks."""
    max_staleness: int | None = Field(default=32, ge=1)
    """``async-ring`` only: steps without any news after which a rank waits, and beyond which older weights count less; null for neither."""
    distances: Literal["rotating", "plain"] = "rotating"
    """``async-ring`` only: ring distances 1, 2, 4, ... in rotation, or 1 alone."""
    straggler_s: float = Field(default=5.0, ge=0)
    """``async-ring`` only: seconds from when half of the ranks have finished a round until the others are told to come as they are."""
    silence_s: float = Field(default=5.0, gt=0)
    """``async-ring`` only: seconds without a sign of life after which a rank counts as lost."""
    transport: Literal["auto", "shared-memory", "tcp", "mpi"] = "auto"
    """``async-ring`` only: ``auto`` is shared memory inside a node and TCP between nodes."""
    host: str | None = None
    """``async-ring`` only: address at which the ranks of this node can be reached over the network; found out when null."""
    late: bool = False
    """``allreduce`` only: apply gradients one step late, so that the exchange runs beside the next step."""
    group_size: int = Field(default=4, ge=1)
    """``grouped`` only: ranks per group."""
    outer_every: int = Field(default=16, ge=1)
    """``grouped`` only: steps between exchanges of the groups."""
    every: int = Field(default=16, ge=1)
    """``localsteps`` only: steps between averages of the weights."""
    quorum: int | None = Field(default=None, ge=1)
    """``quorum`` only: ranks to wait for; nine in ten when null."""
    max_lag: int = Field(default=16, ge=0)
    """``quorum`` only: steps that a rank may be behind before the others wait for it."""

    def without_effect(self) -> list[str]:
        """Options that were given but belong to another exchange."""
        ring = dict.fromkeys(("max_staleness", "distances", "straggler_s", "silence_s", "transport", "host"), "async-ring")
        others = {"late": "allreduce", "group_size": "grouped", "outer_every": "grouped", "every": "localsteps", "quorum": "quorum"}
        owners = ring | others | {"max_lag": "quorum"}
        return [option for option, owner in owners.items() if option in self.model_fields_set and self.name != owner]
