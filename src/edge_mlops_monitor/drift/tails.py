"""Tail probabilities that Python lacks: chi-square, the limits of Cramer-von Mises and Anderson-Darling.

The two limits are those of sums of squared independent normal variables with weights `w_1 > w_2 > ...`.
Their tails are integrals over the gaps between the poles of the characteristic function (Smirnov, On the
distribution of the omega-squared criterion, 1937), of positive and soon tiny terms, so that they are
accurate relative to their own size; Gauss and Chebyshev's rule takes care of the poles at both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NODES = 64  # of the quadrature
GAPS = 60  # most gaps that are summed
TINY = 1e-300


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The probability that a chi-square variable exceeds `statistic`.

    >>> round(chi_square_tail(3.841458820694124, 1), 12), chi_square_tail(4.0, 0)
    (0.05, 1.0)
    """
    if degrees <= 0 or statistic <= 0:
        return 1.0
    return upper_gamma(degrees / 2, statistic / 2)


def upper_gamma(a: float, x: float) -> float:
    """The regularised upper incomplete gamma function Q(a, x), for a > 0 and x >= 0.

    A series below a + 1, Legendre's continued fraction above (Abramowitz and Stegun, 6.5.29 and 6.5.31).

    >>> upper_gamma(1.0, 2.0) == math.exp(-2.0)
    True
    """
    if x <= 0:
        return 1.0
    if a == 1:
        return math.exp(-x)
    if x < a + 1:
        return 1 - _gamma_density(a, x) * _series(a, x)
    return _gamma_density(a, x) * _fraction(a, x)


def _gamma_density(a: float, x: float) -> float:
    """x**a exp(-x) / gamma(a + 1), without the loss of digits of the plain formula for a large a."""
    if a < 20:
        return math.exp(a * math.log(x) - x - math.lgamma(a + 1))
    away = (x - a) / a
    if abs(away) > 0.3:
        bent = math.log1p(away) - away
    else:  # log(1 + d) - d without cancellation
        bent = math.fsum((-1) ** (k + 1) * away**k / k for k in range(2, 40))
    b = 1 / (a * a)
    stirling = (1 / 12 - b * (1 / 360 - b * (1 / 1260 - b * (1 / 1680 - b / 1188)))) / a
    return math.exp(a * bent - stirling) / math.sqrt(2 * math.pi * a)


def _series(a: float, x: float) -> float:
    term = total = 1.0
    n = a
    while term > total * 1e-17:
        n += 1
        term *= x / n
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c, d = 1 / TINY, 1 / b
    result = d
    for i in range(1, 1_000_000):
        top = -i * (i - a)
        b += 2
        d = 1 / (top * d + b or TINY)
        c = b + top / c or TINY
        result *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return result * a


def cramer_von_mises_tail(x: float) -> float:
    """The probability that the limit of Cramer and von Mises' statistic exceeds `x`.

    >>> round(cramer_von_mises_tail(0.46136), 5)  # Anderson and Darling, 1952: the 5 % point
    0.05
    """
    if x < 0.005:
        return 1.0  # below, the distribution function is less than 1e-10

    def squared(u: Floats) -> Floats:
        root = np.sqrt(2 * u)
        return np.asarray(np.sin(root) / root)

    return _tail(x, lambda j: (j * math.pi) ** 2 / 2, squared)


def anderson_darling_tail(x: float) -> float:
    """The probability that the limit of Anderson and Darling's statistic exceeds `x`.

    >>> round(anderson_darling_tail(2.49237), 5)  # Marsaglia and Marsaglia, 2004: the 5 % point
    0.05
    """
    if x < 0.04:
        return 1.0  # below, the distribution function is less than 1e-10

    def squared(u: Floats) -> Floats:
        return np.asarray(-np.cos(np.sqrt(1 + 8 * u) * (math.pi / 2)) / (2 * math.pi * u))

    return _tail(x, lambda j: j * (j + 1) / 2, squared)


def _tail(x: float, pole: Callable[[int], float], squared: Callable[[Floats], Floats]) -> float:
    """P(sum of squares > x), given the poles 1 / (2 w_j) and the characteristic function's inverse square."""
    nodes = np.cos((2 * np.arange(NODES) + 1) * (math.pi / (2 * NODES)))
    total = 0.0
    for gap in range(GAPS):
        low, high = pole(2 * gap + 1), pole(2 * gap + 2)
        if low * x > 700:
            break
        u = (low + high) / 2 + (high - low) / 2 * nodes
        inside = np.exp(-u * x) / u * np.sqrt((u - low) * (high - u) / np.abs(squared(u)))
        term = float(inside.sum()) / NODES
        total += -term if gap % 2 else term
        if abs(term) < 1e-16 * total:
            break
    return min(1.0, max(0.0, total))
