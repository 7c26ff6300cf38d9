"""Numbers as people want to read them: rounded to the precision of their error."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

#: Outside of these magnitudes a power of ten is split off.
_PLAIN_RANGE = (1e-3, 1e6)


def decimals_for(error: float) -> int:
    """Decimal places that an error deserves; negative where tens, hundreds, ... are rounded away.

    If the three leading digits of the error lie between 100 and 354 two digits are kept, between 355 and 949 one, and from 950 it is
    rounded up to 1000 and two are kept.

    Args:
        error: finite and greater than zero.

    References:
        Particle Data Group, Review of Particle Physics, Introduction, section 5.3 (rounding).

    Example:
        >>> [decimals_for(error) for error in (0.0123, 0.0456, 0.0987, 678.0)]
        [3, 2, 2, -2]
    """
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (exponent - 2))
    if leading == 1000:
        exponent, leading = exponent + 1, 100
    return -exponent + (1 if leading < 355 else 0)


def rounded_pair(value: float, error: float | None) -> tuple[str, str]:
    """A value and its error, both to the precision of the error; the error is empty where there is none.

    Example:
        >>> rounded_pair(0.827, 0.119)
        ('0.83', '0.12')
        >>> rounded_pair(1.2345678e-7, 4.2e-10)
        ('1.235×10⁻⁷', '0.004×10⁻⁷')
    """
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(value):
        return plain_number(value), ""
    exponent = _exponent(max(abs(value), error))
    scale = 10.0**exponent
    decimals = decimals_for(error / scale)
    ending = _power_of_ten(exponent)
    return _fixed(value / scale, decimals) + ending, _fixed(error / scale, decimals) + ending


def with_error(value: float, error: float | None) -> str:
    """A value with its error in one text.

    Example:
        >>> with_error(0.5034, 0.0041), with_error(12.0, None)
        ('0.503 ± 0.004', '12')
        >>> with_error(1.2345678e-7, 4.2e-10)
        '(1.235 ± 0.004)×10⁻⁷'
    """
    number, uncertainty = rounded_pair(value, error)
    if not uncertainty:
        return number
    number, times, ending = number.partition("×")
    pair = f"{number} ± {uncertainty.partition('×')[0]}"
    return f"({pair}){times}{ending}" if times else pair


def plain_number(value: float, digits: int = 4) -> str:
    """A number without an error, to a few significant digits.

    Example:
        >>> plain_number(0.30000000000000004), plain_number(100000.0), plain_number(2.5e-9)
        ('0.3', '100000', '2.5×10⁻⁹')
    """
    if not math.isfinite(value):
        return str(value)
    exponent = _exponent(abs(value))
    # Digits before the decimal point are never rounded away: 123456 stays what it is.
    text = f"{value:.0f}" if not exponent and abs(value) >= 10**digits else f"{value / 10.0**exponent:.{digits}g}"
    return text + _power_of_ten(exponent)


def percentage(share: float) -> str:
    """A share in per cent to two significant digits.

    Example:
        >>> percentage(0.19342), percentage(0.00071)
        ('19 %', '0.071 %')
    """
    return f"{float(f'{100 * share:.2g}'):g} %"


def _exponent(magnitude: float) -> int:
    """Power of ten to split off; zero for numbers that read well without."""
    if magnitude == 0 or _PLAIN_RANGE[0] <= magnitude < _PLAIN_RANGE[1]:
        return 0
    return math.floor(math.log10(magnitude))


def _power_of_ten(exponent: int) -> str:
    return f"×10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else ""


def _fixed(value: float, decimals: int) -> str:
    # Adding zero turns -0.0 into 0.0.
    return f"{round(value, decimals) + 0.0:.{max(decimals, 0)}f}"
