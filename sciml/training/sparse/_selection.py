"""Which terms to keep: backward elimination and exchanges, judged by an information criterion.

Between refits the objective is predicted from its quadratic model in the coefficients, `J(c) = J0 + 2 bᵀd + dᵀ M d`:
leaving out a term of estimate `c` and variance `v = (M⁻¹)ᵢᵢ` costs `c²/v`, Wald's statistic, and moves the others to
`c - M⁻¹ᵢ cᵢ/v`.
"""

from collections.abc import Callable

import equinox as eqx
import numpy as np
from scipy.special import gammaln

from ._joint import Joint

CLEAR = 1.5
"""Terms below this statistic leave together, without a refit between them; half of all idle terms lie below 0.5."""

MARGIN = 40.0
"""Elimination goes on until the criterion is this much above its best value: local minima are common on the way."""

Refit = Callable[[Joint, np.ndarray, np.ndarray], Joint]


class Visit(eqx.Module):
    """A model that the search has fitted."""

    is_active: np.ndarray
    joint: Joint
    criterion: float


Visits = Callable[[Joint, np.ndarray], Visit]


def criterion(value: float, active: int, terms: int, samples: int) -> float:
    """`J + k log n + 2 log C(p, k)`, to be minimised: BIC, and the number of models of that size.

    Source: Chen and Chen (2008), Extended Bayesian information criteria for model selection with large model spaces,
    Biometrika 95(3), with γ = 1, doi:10.1093/biomet/asn034; for noise of known variance.
    """
    models = gammaln(terms + 1) - gammaln(active + 1) - gammaln(terms - active + 1)
    return float(value + active * np.log(samples) + 2 * models)


def search(refit: Refit, joint: Joint, samples: int, exchanges: int) -> tuple[Visit, list[Visit]]:
    """The best model found, and those along the elimination, from the full one down; only that if it is not finite."""
    shape, terms = joint.coefficients.shape, joint.coefficients.size
    full = np.ones(terms, bool)
    # A fit that is not finite has lost.
    value = lambda joint: float(joint.value) if np.all(np.isfinite(joint.matrix)) else np.inf
    visit = lambda joint, on: Visit(on.reshape(shape), joint, criterion(value(joint), int(on.sum()), terms, samples))
    path = [visit(joint, full)]
    best = path[0]
    if not np.isfinite(best.criterion):
        return best, path
    while path[-1].is_active.sum() > 1 and path[-1].criterion <= best.criterion + MARGIN:
        on, guess = _weakest(path[-1].joint, path[-1].is_active.ravel())
        path.append(visit(refit(path[-1].joint, guess.reshape(shape), on.reshape(shape)), on))
        best = min(best, path[-1], key=lambda v: v.criterion)
    seen = {v.is_active.tobytes() for v in path}
    while (better := _exchanged(refit, best, visit, samples, seen, exchanges)) is not None:
        best = better
    return best, path


def _weakest(joint: Joint, on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The active terms without the weakest, and their predicted coefficients."""
    on, kept = on.copy(), np.flatnonzero(on)
    coefficients = np.asarray(joint.coefficients, float).ravel()[kept]
    covariance = _inverse(np.asarray(joint.matrix, float)[np.ix_(kept, kept)])
    is_first = True
    while kept.size > 1:
        statistic = coefficients**2 / np.maximum(np.diag(covariance), 1e-300)
        j = int(np.argmin(statistic))
        if not is_first and statistic[j] > CLEAR:
            break
        is_first = False
        column, variance = covariance[:, j], max(covariance[j, j], 1e-300)
        coefficients = coefficients - column * coefficients[j] / variance
        covariance = covariance - np.outer(column, column) / variance
        on[kept[j]] = False
        rest = np.arange(kept.size) != j
        kept, coefficients, covariance = kept[rest], coefficients[rest], covariance[np.ix_(rest, rest)]
    guess = np.zeros(on.size)
    guess[kept] = coefficients
    return on, guess


def _exchanged(
    refit: Refit, best: Visit, visit: Visits, samples: int, seen: set[bytes], exchanges: int
) -> Visit | None:
    """A better neighbour of the best model: one term less, more, or exchanged; None if no promising one is better."""
    joint, on = best.joint, best.is_active.ravel()
    M, b = np.asarray(joint.matrix, float), np.asarray(joint.gradient, float)
    c = np.asarray(joint.coefficients, float).ravel()
    right = M @ c - b
    options = []
    inside, outside = np.flatnonzero(on), np.flatnonzero(~on)
    for out in [None, *inside]:
        kept = inside if out is None else inside[inside != out]
        inverse = _inverse(M[np.ix_(kept, kept)])
        solution = inverse @ right[kept]
        guess = np.zeros_like(c)
        guess[kept] = solution
        d = guess - c
        value = float(joint.value) + 2 * b @ d + d @ M @ d
        if out is not None:
            options.append((value, kept.size, kept))
        # One more term: the gain is the squared partial residual over the Schur complement.
        cross = M[np.ix_(kept, outside)]
        partial = right[outside] - cross.T @ solution
        left = np.maximum(np.diag(M)[outside] - np.sum(cross * (inverse @ cross), axis=0), 1e-300)
        options += [
            (value - gain, kept.size + 1, np.append(kept, term))
            for gain, term in zip(partial**2 / left, outside, strict=True)
        ]
    score = lambda value, size: criterion(value, size, c.size, samples)
    options.sort(key=lambda option: score(option[0], option[1]))
    tried = 0
    for value, size, kept in options:
        new = np.zeros(c.size, bool)
        new[kept] = True
        # The prediction is good to a few units of χ².
        if tried == exchanges or score(value, size) > best.criterion + 10:
            return None
        if new.tobytes() in seen:
            continue
        seen.add(new.tobytes())
        tried += 1
        guess = np.zeros_like(c)
        guess[kept] = _inverse(M[np.ix_(kept, kept)]) @ right[kept]
        found = visit(refit(joint, guess.reshape(best.is_active.shape), new.reshape(best.is_active.shape)), new)
        if found.criterion < best.criterion - 1e-6:
            return found
    return None


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix, in the scaling of its diagonal; directions below rounding are left out."""
    scale = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    return np.linalg.pinv(matrix * scale[:, None] * scale, rcond=1e-13, hermitian=True) * scale[:, None] * scale
