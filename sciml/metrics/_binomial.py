"""Confidence bounds on a probability, from counted events."""

import math

import numpy as np

from ..core import invalid


def clopper_pearson(k: int, n: int, *, confidence: float = 0.95) -> float:
    """The one-sided upper confidence bound on a probability, from `k` events in `n` independent trials.

    Choose it for rare events, where a normal approximation is wrong. It is the largest `q` with
    `P(X <= k) >= 1 - confidence` for `X ~ Binomial(n, q)`, the `confidence` quantile of Beta(k + 1, n - k). It covers
    the true probability with at least that confidence, for every `n` and every probability. For `k = 0` it is close to
    `3 / n` at 95 %.

    Args:
        k: number of events, `0 <= k <= n`.
        n: number of independent trials, `>= 1`.
        confidence: confidence level, in (0, 1).

    Returns:
        The bound, in (0, 1], accurate to about ten digits; 1 for `k = n`. Computed on the host; no derivatives.

    Raises:
        ValueError: if `n < 1`, `k` is outside 0 ... n, or `confidence` is outside (0, 1).

    Source: Clopper & Pearson (1934), The use of confidence or fiducial limits illustrated in the case of the binomial,
    Biometrika 26(4), 404-413, doi:10.1093/biomet/26.4.404.
    """
    k, n = int(k), int(n)
    if n < 1:
        raise invalid("n", n, "at least one trial", "give the number of trials")
    if not 0 <= k <= n:
        raise invalid("k", k, f"a count between 0 and n = {n}", "count each event once")
    if not 0.0 < confidence < 1.0:
        raise invalid("confidence", confidence, "a number in (0, 1)", "write 95 % as 0.95")
    if k == n:
        return 1.0
    target = math.log1p(-confidence)
    if k == 0:
        # (1 - q)^n = 1 - confidence
        return -math.expm1(target / n)
    # log C(n, i) for i = 0 ... k, from C(n, i) = C(n, i - 1) (n - i + 1) / i
    i = np.arange(k + 1.0)
    coefficients = np.concatenate([[0.0], np.cumsum(np.log((n - i[1:] + 1.0) / i[1:]))])
    # P(X <= k) falls as q grows: bisect until two neighbouring floating-point numbers are left.
    low, high = 0.0, 1.0
    while (middle := 0.5 * (low + high)) not in (low, high):
        terms = coefficients + i * math.log(middle) + (n - i) * math.log1p(-middle)
        largest = float(np.max(terms))
        tail = largest + math.log(float(np.sum(np.exp(terms - largest))))
        low, high = (middle, high) if tail > target else (low, middle)
    return high
