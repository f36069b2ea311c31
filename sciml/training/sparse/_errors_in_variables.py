"""Sparse identification with errors in variables."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from sciml.core import invalid

from ._chain import Chain
from ._joint import Joint, refit, step_error
from ._rows import terms_along
from ._selection import search
from ._smooth import smooth
from ._stlsq import AbstractSparse, SparseStats

LADDER = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Tolerances on the way, in units of the noise: a loose one has no local minima, a tight one uses all of the record."""

FINE, MOST_SUBSTEPS = 0.3, 64
"""The largest error of integration, in units of the tolerance, and where doubling the steps ends."""


class ErrorsInVariables(AbstractSparse):
    """The true states as unknowns beside the coefficients: `Σ((x - y)/noise)²` plus the defects of the equations.

    The first choice: it takes neither derivatives of noisy data nor products of noise, needs no threshold, and
    estimates the noise itself. Smoothed records give a start; the tolerance of the equations then goes down while all
    terms are in; terms leave one after the other as long as an information criterion says so, each time with all
    states and coefficients fitted again; exchanges of single terms end the search. The cost grows linearly with the
    samples.

    Records must hold every state (single samples may be missing). It runs on the host: not inside `jit` or `vmap`.

    Args:
        tolerance: what the equations may miss in one sampling interval, in units of the noise, in (0, 1]. Small: the
            records must follow the equations exactly, so that the chaos of a long record helps.
        substeps: Runge-Kutta steps per sampling interval, >= 1; None doubles them until the error of integration is a
            small part of the tolerance, see `SparseStats.step_error`.
        steps: most Levenberg-Marquardt steps in each fit.
        exchanges: neighbours of the best model that are fitted in each round of exchanges, >= 0.

    Raises:
        ValueError: an argument out of range.

    Source: states and coefficients as unknowns: orthogonal distance regression, Boggs and Rogers (1990), Contemporary
    Mathematics 112; for sparse dynamics ODR-BINDy (2025), arXiv:2507.23426, whose idea of selecting terms
    on that objective this follows. The tolerance, its continuation, the elimination of the states (`_arrow.py`) and the
    exchanges are our own.
    """

    tolerance: float = 0.003
    substeps: int | None = None
    steps: int = 30
    exchanges: int = 3

    def __check_init__(self):
        """Checks the options."""
        if not 0 < self.tolerance <= 1 or (self.substeps or 1) < 1 or self.steps < 1 or self.exchanges < 0:
            got = f"tolerance = {self.tolerance}, substeps = {self.substeps}, steps = {self.steps}"
            got += f", exchanges = {self.exchanges}"
            expected = "0 < tolerance <= 1, substeps >= 1, steps >= 1, exchanges >= 0"
            raise invalid("tolerance, substeps, steps, exchanges", got, expected, "use the defaults")

    def identify(self, library: Any, chain: Chain, *, key: PRNGKeyArray | None) -> tuple[Array, SparseStats]:
        """Coefficients and statistics; no key is needed."""
        smoothed = smooth(chain)
        guess = _regression(np.asarray(terms_along(library, smoothed.x, chain)), np.asarray(smoothed.rate), chain)
        samples = int(np.sum(np.asarray(chain.is_measured)))
        everything = jnp.ones(guess.shape, bool)
        # Below this level rounding and integration, not noise, decide.
        spread = jnp.std(chain.y, axis=0, where=chain.is_measured)
        floor = spread * float(jnp.finfo(chain.y.dtype).eps) ** 0.375
        noise = jnp.maximum(smoothed.noise, floor)
        fit = lambda start, is_active, noise, tolerance, substeps: refit(
            library, start, is_active, chain, noise, jnp.asarray(tolerance, noise.dtype), substeps, steps=self.steps
        )
        error = lambda joint: (
            step_error(library, joint.coefficients, joint.x, chain, substeps) / (self.tolerance * noise)
        )
        substeps = jnp.asarray(self.substeps or 1)
        start = (smoothed.x, jnp.asarray(guess, chain.y.dtype))
        for tolerance in [*(level for level in LADDER if level > self.tolerance), self.tolerance]:
            joint = fit(start, everything, noise, tolerance, substeps)
            start = joint.x, joint.coefficients
            if tolerance < 0.2:  # the states have hardly any freedom left
                free = max(samples - guess.size - guess.shape[1], samples // 2)
                noise = jnp.maximum(noise * jnp.sqrt(joint.value / free), floor)
        while self.substeps is None and jnp.max(error(joint)) > FINE and substeps < MOST_SUBSTEPS:
            substeps = 2 * substeps
            joint = fit((joint.x, joint.coefficients), everything, noise, self.tolerance, substeps)
        again = lambda joint, guess, is_active: fit(
            (joint.x, jnp.asarray(guess, noise.dtype)), jnp.asarray(is_active), noise, self.tolerance, substeps
        )
        joint = again(joint, joint.coefficients, everything)
        best, path = search(again, joint, samples, self.exchanges)
        is_sound = np.isfinite(best.criterion)
        return jnp.where(is_sound, best.joint.coefficients, jnp.nan), SparseStats(
            deviation=_deviation(best.joint, best.is_active),
            inclusion=jnp.asarray(best.is_active).astype(noise.dtype),
            noise=noise,
            x=best.joint.x,
            step_error=error(best.joint),
            sizes=tuple(int(visit.is_active.sum()) for visit in path),
            criteria=tuple(visit.criterion for visit in path),
        )


def _regression(terms: np.ndarray, rates: np.ndarray, chain: Chain) -> np.ndarray:
    """Least squares of the smoothed rates on all terms, in the scaling of the terms; NaN if these are not finite."""
    if not np.all(np.isfinite(terms)):
        return np.full((terms.shape[1], rates.shape[1]), np.nan)
    linked = np.asarray(chain.is_linked)
    rows = np.flatnonzero(np.append(linked, False) | np.append(False, linked))
    scale = np.linalg.norm(terms[rows], axis=0)
    scale[scale == 0] = 1
    return np.linalg.lstsq(terms[rows] / scale, rates[rows], rcond=1e-8)[0] / scale[:, None]


def _deviation(joint: Joint, is_active: np.ndarray) -> Array:
    """Of the kept coefficients, from the inverse of their block of the reduced system: `J` has the scale of χ²."""
    kept = np.flatnonzero(is_active.ravel())
    matrix = np.nan_to_num(np.asarray(joint.matrix)[np.ix_(kept, kept)])
    deviation = np.zeros(is_active.size, matrix.dtype)
    deviation[kept] = np.sqrt(np.maximum(np.diag(np.linalg.pinv(matrix, hermitian=True)), 0))
    return jnp.asarray(deviation.reshape(is_active.shape))
