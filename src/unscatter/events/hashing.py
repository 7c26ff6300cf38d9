"""Random numbers that belong to a row: pure functions of a key and the row's index, so that they stream."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, UInt8, UInt64
from numpy import ndarray

from unscatter.arrays import RandomStream

#: The largest key of :func:`splitmix64`.
MAX_KEY = 2**64 - 1

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

#: The largest number that :func:`row_uniforms` gives.
_LARGEST_UNIFORM = 1 - 2.0**-53

#: P(k <= 0), P(k <= 1), ... of the Poisson distribution of mean one, as far as a double can tell them from one.
_POISSON_ONE_CDF = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(19)])

#: Leading bits that decide the weight of nearly all rows without a search, in a table that stays in the cache.
_TABLE_BITS = 16
_UNSURE = 255


def splitmix64(key: int, rows: Int[ndarray, " rows"]) -> UInt64[ndarray, " rows"]:
    """The numbers of the SplitMix64 generator seeded with ``key``, at the positions ``rows``.

    The generator's state is a counter, so any position is reached at once.

    References:
        Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014, figure 13 with the constants of Vigna's
        public-domain C code.

    Example:
        >>> splitmix64(1234567, np.arange(2))
        array([6457827717110365317, 3203168211198807973], dtype=uint64)
    """
    # In place: most of the time goes into memory that is touched for the first time.
    bits = rows.astype(np.uint64)
    bits += np.uint64(1)
    bits *= _GAMMA
    bits += np.uint64(key)
    shifted = bits >> np.uint64(30)
    bits ^= shifted
    bits *= _MIX_1
    bits ^= np.right_shift(bits, np.uint64(27), out=shifted)
    bits *= _MIX_2
    bits ^= np.right_shift(bits, np.uint64(31), out=shifted)
    return bits


def row_uniforms(key: int, rows: Int[ndarray, " rows"]) -> Float64[ndarray, " rows"]:
    """Uniform numbers in [0, 1), one per row: the upper 53 bits of :func:`splitmix64`."""
    return _uniforms(splitmix64(key, rows))


def _uniforms(bits: np.ndarray) -> np.ndarray:
    return (bits >> np.uint64(11)) * 2.0**-53


def poisson_weights(key: int, rows: Int[ndarray, " rows"], *, mirrored: bool = False) -> UInt8[ndarray, " rows"]:
    r"""Bootstrap weights, one per row, Poisson distributed with mean one.

    The weight is the inverse of the cumulative distribution at the row's uniform number,

    .. math:: w = \min\{k : u < F(k)\}, \qquad F(k) = e^{-1} \sum_{j \le k} 1/j!

    so the weights of a data set that is read in pieces, in any order, are those of the whole.  Mirrored weights have :math:`1 - u` in place
    of :math:`u`.

    References:
        Chamandy, Muralidharan, Najmi, Naidu, Estimating uncertainty for massive data streams (2012), section 2.

    Example:
        >>> weights = poisson_weights(7, np.arange(100_000))
        >>> bool(abs(weights.mean() - 1) < 0.02)
        True
    """
    bits = splitmix64(key, rows)
    if mirrored:
        bits = ~bits
    weights = _POISSON_OF_BITS.take(bits >> np.uint64(64 - _TABLE_BITS))
    if np.any(unsure := weights == _UNSURE):
        weights[unsure] = _poisson_of_uniforms(_uniforms(bits[unsure]))
    return weights


def poisson_weights_by_search(key: int, rows: Int[ndarray, " rows"], *, mirrored: bool = False) -> UInt8[ndarray, " rows"]:
    """The slow reference of :func:`poisson_weights`: a search of the distribution for every row."""
    uniforms = row_uniforms(key, rows)
    return _poisson_of_uniforms(_LARGEST_UNIFORM - uniforms if mirrored else uniforms)


def _poisson_of_uniforms(uniforms: np.ndarray) -> np.ndarray:
    return np.searchsorted(_POISSON_ONE_CDF, uniforms, side="right").astype(np.uint8)


def _poisson_table() -> np.ndarray:
    """Weights by the leading bits of a row's random number, ``[2 ** _TABLE_BITS]``; the few cells with an edge inside are marked."""
    low = np.arange(2**_TABLE_BITS) * 2.0**-_TABLE_BITS
    first, last = _poisson_of_uniforms(low), _poisson_of_uniforms(low + 2.0**-_TABLE_BITS - 2.0**-53)
    return np.where(first == last, first, np.uint8(_UNSURE))


_POISSON_OF_BITS = _poisson_table()


class BootstrapKey(NamedTuple):
    r"""What the bootstrap weights of one replica are a pure function of, together with the row.

    Replicas come in pairs that mirror one another: each is a bootstrap as any other, but where one of a pair sees an event often, the other
    one sees it rarely.  The correlation of the two weights is

    .. math:: P(w = 1, w' = 1) - 1 = -2/e \approx -0.74 ,

    so what an even number of replicas finds on average has a quarter of the bootstrap's variance that independent replicas would leave in
    it.  The variance over R replicas comes out larger by :math:`1 + (2/e) / (R - 1)`, a tenth for eight of them.

    References:
        Hall, Antithetic resampling for the bootstrap, Biometrika 76 (1989) 713.

    Example:
        >>> pair = [BootstrapKey.of(RandomStream(1), replica, "proton").weights(np.arange(100_000)) for replica in (0, 1)]
        >>> bool(abs(np.corrcoef(*pair)[0, 1] + 2 / math.e) < 0.01)
        True
    """

    key: int
    """Shared by a pair."""
    mirrored: bool
    """Whether this is the second one of the pair."""

    @classmethod
    def of(cls, stream: RandomStream, replica: int, channel: str) -> BootstrapKey:
        """The key of a replica and channel: a pure function of the arguments, however many replicas there are."""
        return cls(stream.integer(replica // 2, channel), replica % 2 == 1)

    def weights(self, rows: Int[ndarray, " rows"]) -> UInt8[ndarray, " rows"]:
        """How often the replica sees the rows with these numbers."""
        return poisson_weights(self.key, rows, mirrored=self.mirrored)
