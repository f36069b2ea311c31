"""Sequentially thresholded least squares, alone and in ensembles."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sciml.core import check_key, cholesky, invalid, solve_cholesky

from ._chain import Chain
from ._rows import AbstractEquations, Derivatives


class SparseStats(eqx.Module):
    """What an identification knows about its coefficients."""

    deviation: Float[Array, "term x"]
    """Standard deviation of each coefficient, given the terms that were kept; 0 for those left out."""
    inclusion: Float[Array, "term x"]
    """Fraction of the members of an ensemble that keep the term; of one fit 1 or 0."""
    noise: Float[Array, " x"]
    """Standard deviation of the measurement noise of each output, estimated."""
    x: Float[Array, "*record time x"] | None = None
    """The states that `ErrorsInVariables` estimates; where nothing was measured too."""
    step_error: Float[Array, " x"] | None = None
    """Root-mean-square error of integration over one sampling interval in units of `tolerance·noise`; raise `substeps`
    where it is not far below one. `ErrorsInVariables` only."""
    sizes: tuple[int, ...] = ()
    """Numbers of terms along the elimination of `ErrorsInVariables`."""
    criteria: tuple[float, ...] = ()
    """The information criterion along it."""


class AbstractSparse(eqx.Module):
    """A method of sparse identification."""

    @abstractmethod
    def identify(self, library: Any, chain: Chain, *, key: PRNGKeyArray | None) -> tuple[Array, SparseStats]:
        """Coefficients and statistics from the records in `chain`."""


class STLSQ(AbstractSparse):
    """Least squares on the terms whose coefficient exceeds a threshold, repeated until the terms stay the same.

    Quick, and the method of most of the literature; its threshold must lie below the smallest true coefficient, and
    noise in the records biases the coefficients. `ErrorsInVariables` has neither trouble.

    Args:
        threshold: coefficients below it in absolute value are set to zero, > 0, in the units of the equations.
        ridge: penalty on the coefficients, relative to the mean square of each term, >= 0.
        equations: how records become equations: `Derivatives()` or `WeakForm()`.
        rounds: most repetitions.

    Raises:
        ValueError: `threshold` or `ridge` out of range.

    Gradient: none through the choice of terms.

    Source: Brunton, Proctor and Kutz (2016), PNAS 113(15), supporting information section 2,
    doi:10.1073/pnas.1517384113; convergence: Zhang and Schaeffer (2019), Multiscale Model. Simul. 17(3).
    """

    threshold: float = 0.1
    ridge: float = 1e-10
    equations: AbstractEquations = Derivatives()
    rounds: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        """Checks the threshold and the ridge."""
        if not (self.threshold > 0 and self.ridge >= 0):
            got = f"threshold = {self.threshold}, ridge = {self.ridge}"
            raise invalid("threshold, ridge", got, "threshold > 0 and ridge >= 0", "start with threshold=0.1")

    def _levels(self, like: Array) -> tuple[Array, Array]:
        """Threshold and ridge as arrays, so that another one is not traced again."""
        return jnp.asarray(self.threshold, like.dtype), jnp.asarray(self.ridge, like.dtype)

    def identify(self, library: Any, chain: Chain, *, key: PRNGKeyArray | None) -> tuple[Array, SparseStats]:
        """Coefficients and statistics; no key is needed."""
        rows = self.equations.equations(library, chain)
        coefficients, is_active, deviation = _stlsq(rows.A, rows.b, *self._levels(rows.A), self.rounds)
        return coefficients, SparseStats(deviation, is_active.astype(deviation.dtype), rows.noise)


class Bagging(AbstractSparse):
    """An ensemble of `STLSQ` fits to equations drawn with replacement; a term stays if most members keep it.

    Choose it for short or noisy records: it stands more noise than one fit, and the inclusion probabilities tell which
    terms are in doubt. The coefficients are the medians over the members that keep the term.

    Args:
        method: the fit of one member.
        members: how many, >= 2.
        inclusion: the least fraction of members that must keep a term, in (0, 1].

    Raises:
        ValueError: `members` or `inclusion` out of range; a missing key.

    Source: Fasel, Kutz, Brunton and Brunton (2022), Ensemble-SINDy: robust sparse model discovery in the low-data,
    high-noise limit, with active learning and control, Proc. R. Soc. A 478, algorithm 1 ("bragging": bagging with
    medians), doi:10.1098/rspa.2021.0904.
    """

    method: STLSQ = STLSQ()
    members: int = 100
    inclusion: float = 0.6

    def __check_init__(self):
        """Checks the size of the ensemble."""
        if self.members < 2 or not 0 < self.inclusion <= 1:
            got = f"members = {self.members}, inclusion = {self.inclusion}"
            raise invalid("members, inclusion", got, "members >= 2 and 0 < inclusion <= 1", "use the defaults")

    def identify(self, library: Any, chain: Chain, *, key: PRNGKeyArray | None) -> tuple[Array, SparseStats]:
        """Coefficients and statistics over the members."""
        check_key(key)
        assert key is not None
        one, rows = self.method, self.method.equations.equations(library, chain)
        count = rows.A.shape[0]
        # Drawing rows with replacement is weighting them by how often they are drawn.
        drawn = jr.randint(key, (self.members, count), 0, count)
        weight = jax.vmap(lambda k: jnp.zeros(count, rows.A.dtype).at[k].add(1.0))(drawn)
        coefficients, is_active = _members(rows.A, rows.b, jnp.sqrt(weight), *one._levels(rows.A), one.rounds)
        inclusion = jnp.mean(is_active.astype(rows.A.dtype), axis=0)
        is_kept = inclusion >= self.inclusion
        kept = jnp.where(is_active & is_kept, coefficients, jnp.nan)
        middle = jnp.where(is_kept, jnp.nanmedian(jnp.where(is_kept, kept, 0), axis=0), 0)
        spread = jnp.where(is_kept, jnp.nanstd(jnp.where(is_kept, kept, 0), axis=0), 0)
        middle = jnp.where(jnp.all(jnp.isfinite(coefficients)), middle, jnp.nan)
        return middle, SparseStats(spread, inclusion, rows.noise)


@eqx.filter_jit
def _stlsq(
    A: Float[Array, "row term"], b: Float[Array, "row x"], threshold: Array, ridge: Array, rounds: int
) -> tuple[Float[Array, "term x"], Bool[Array, "term x"], Float[Array, "term x"]]:
    """Coefficients, kept terms and standard deviations, each state by itself."""
    scale = jnp.sqrt(jnp.sum(A**2, axis=0))
    scale = jnp.where(scale > 0, scale, 1)
    A = A / scale
    gram, right = A.T @ A, A.T @ b
    rows = jnp.sum(jnp.any(A != 0, axis=1).astype(A.dtype))

    def one(right: Array, b: Array) -> tuple[Array, Array, Array]:
        keeps = lambda is_active: jnp.abs(_masked_fit(gram, right, is_active, ridge)[0] / scale) >= threshold
        body = lambda _, is_active: is_active & keeps(is_active)
        is_active = jax.lax.fori_loop(0, rounds, body, jnp.ones(right.shape, bool))
        z, variance = _masked_fit(gram, right, is_active, ridge)
        z = jnp.where(jnp.all(jnp.isfinite(gram)) & jnp.all(jnp.isfinite(right)), z, jnp.nan)  # not silently no terms
        free = jnp.maximum(rows - jnp.sum(is_active.astype(A.dtype)), 1)
        residual = jnp.sum((A @ z - b) ** 2) / free
        return z / scale, is_active, jnp.where(is_active, jnp.sqrt(residual * variance), 0) / scale

    return jax.vmap(one, in_axes=1, out_axes=1)(right, b)


def _masked_fit(gram: Array, right: Array, is_active: Array, ridge: Array) -> tuple[Array, Array]:
    """Ridge regression on the active terms, and the diagonal of the inverse of its matrix."""
    both = is_active[:, None] & is_active
    eye = jnp.eye(gram.shape[0], dtype=gram.dtype)
    factor = cholesky(jnp.where(both, gram, 0) + jnp.where(is_active, ridge, 1)[:, None] * eye)
    solved = solve_cholesky(factor, jnp.concatenate([jnp.where(is_active, right, 0)[:, None], eye], axis=1))
    return solved[:, 0], jnp.diagonal(solved[:, 1:])


@eqx.filter_jit
def _members(A: Array, b: Array, weight: Array, threshold: Array, ridge: Array, rounds: int) -> tuple[Array, Array]:
    fit = lambda w: _stlsq(w[:, None] * A, w[:, None] * b, threshold, ridge, rounds)[:2]
    return jax.vmap(fit)(weight)
