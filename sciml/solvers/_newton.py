"""The condensed primal-dual Newton system, its inertia test and its solution.

Inequalities with slacks and bounds are rows of one kind, `a(x) + t = 0` with `t > 0`, multipliers `y` and Jacobian
`A = [Jg; -I; I]`. With `Σ = y / t`, one Newton step on the perturbed KKT conditions reads, after eliminating
`dt = -(a + t) - A dx` and `dy = μ/t - y + Σ (a + t + A dx)`,

    [ M   Jhᵀ ] [ dx ]     [ b ]     M = W + AᵀΣA + δ I
    [ Jh   0  ] [ ν⁺ ] = - [ h ]     b = ∇f + Aᵀ(μ/t + Σ (a + t))

Adding `ρ Jhᵀ (Jh dx + h) = 0` to the first row leaves the solution alone and makes `M + ρ JhᵀJh` positive definite
for large ρ exactly when `M` is positive definite on the null space of `Jh` (Debreu 1952): its Cholesky factor is the
inertia test. The equality multipliers follow from the Schur complement `S = Jh (M + ρ JhᵀJh)⁻¹ Jhᵀ`.

Every factorisation and triangular solve here depends on the one before it. That is deliberate: jaxlib's batched LAPACK
calls wait for workers of the thread pool that they run in, so that two independent calls in one program can wait for
each other for ever on a machine with two cores.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float, Scalar

from ..core import tree_where
from ._evaluate import Evaluation
from ._state import Constants, distances, Rows, State, Vector

_SHIFTS = (0.0, 1.0, 8.0, 64.0)  # trial Hessian shifts of one pass, as multiples of the first


class System(eqx.Module):
    """A condensed Newton system before factorisation, and what is needed to expand its solution."""

    matrix: Float[Array, "n n"]
    jacobian_g: Float[Array, "g n"]
    jacobian_h: Float[Array, "h n"]
    gradient: Vector
    """`∇f`."""
    h: Float[Array, " h"]
    rho: Scalar
    sigma: Rows
    centred: Rows
    """`μ / t`."""
    offset: Rows
    """`a + t`: `g + s` for inequalities, zero for bounds."""

    def along(self, dx: Vector) -> Rows:
        """`A dx`."""
        return jnp.concatenate([self.jacobian_g @ dx, -dx, dx])

    def right(self, h: Float[Array, " h"], offset: Rows) -> Vector:
        """`-b - ρ Jhᵀ h` for constraint values `h` and `a + t = offset`."""
        rows = self.centred + self.sigma * offset
        n, g = self.gradient.size, self.jacobian_g.shape[0]
        b = self.gradient + self.jacobian_g.T @ rows[:g] - rows[g : g + n] + rows[g + n :]
        return -b - self.rho * (self.jacobian_h.T @ h)


class Direction(eqx.Module):
    """A primal-dual step, and the factors to compute another for other constraint values."""

    x: Vector
    slack: Float[Array, " g"]
    rows: Rows
    """Change of the distances `t`."""
    dual: Rows
    """Change of the multipliers `y`."""
    eq: Float[Array, " h"]
    """The *new* equality multipliers."""


class Factors(eqx.Module):
    """A factored Newton system."""

    system: System
    factor: Float[Array, "n n"]
    half: Float[Array, "n h"]
    """`L⁻¹ Jhᵀ`."""
    schur: Float[Array, "h h"]
    first: Vector
    """`L⁻¹` times the right-hand side."""
    shift: Scalar
    """The Hessian shift in use; a suggestion for the next pass if none was large enough."""
    size: Scalar
    """Size of the matrix, to measure shifts by."""
    is_definite: Bool[Array, ""]

    def direction(self, dual: Rows) -> Direction:
        """The Newton step, refined once against the unregularised system."""
        system = self.system
        dx, nu = self._back(self.first, -system.h)
        r1 = system.right(system.h, system.offset) + system.rho * (system.jacobian_h.T @ system.h)
        r1 = r1 - system.matrix @ dx - system.jacobian_h.T @ nu
        r2 = -system.h - system.jacobian_h @ dx
        ddx, dnu = self._back(self._forward(r1 + system.rho * (system.jacobian_h.T @ r2)), r2)
        return self._expand(dx + ddx, nu + dnu, system.offset, dual)

    def corrected(self, h: Float[Array, " h"], offset: Rows, dual: Rows) -> Direction:
        """The step for other constraint values `h` and `a + t = offset`, from the same factors."""
        return self._expand(*self._back(self._forward(self.system.right(h, offset)), -h), offset, dual)

    def _forward(self, right: Vector) -> Vector:
        return jsl.solve_triangular(self.factor, right, lower=True)

    def _back(self, w: Vector, r2: Float[Array, " h"]) -> tuple[Vector, Float[Array, " h"]]:
        """`[dx; ν]` from `w = L⁻¹ r`: `S ν = Jh M⁻¹ r - r2`, then `Lᵀ dx = w - L⁻¹Jhᵀ ν`."""
        if r2.size == 0:
            return jsl.solve_triangular(self.factor, w, lower=True, trans=1), r2
        nu = jsl.cho_solve((self.schur, True), self.half.T @ w - r2)
        return jsl.solve_triangular(self.factor, w - self.half @ nu, lower=True, trans=1), nu

    def _expand(self, dx: Vector, nu: Float[Array, " h"], offset: Rows, dual: Rows) -> Direction:
        system = self.system
        along = offset + system.along(dx)
        return Direction(
            dx, -along[: system.jacobian_g.shape[0]], -along, system.centred + system.sigma * along - dual, nu
        )


def factorise(system: System, last_shift: Scalar, floor: Scalar) -> Factors:
    """Factors at the smallest shift of a ladder that makes the matrix positive definite."""
    n, dtype = system.gradient.size, system.matrix.dtype
    size = jnp.maximum(1.0, jnp.max(jnp.abs(jnp.diagonal(system.matrix)), initial=0.0) ** 0.5)
    first = jnp.where(last_shift > 0, last_shift / 3, 1e-4 * size)
    shifts = floor + first * jnp.asarray(_SHIFTS, dtype)
    augmented = system.matrix + system.rho * (system.jacobian_h.T @ system.jacobian_h)
    eye = jnp.eye(n, dtype=dtype)
    factors = jnp.linalg.cholesky(augmented + shifts[:, None, None] * eye, symmetrize_input=False)
    definite = jnp.all(jnp.isfinite(jnp.diagonal(factors, axis1=1, axis2=2)), axis=1)
    is_definite = jnp.any(definite)
    # The first that is definite, without a gather: one-hot weights.
    first_one = definite & (jnp.cumsum(definite) == 1)
    factor = jnp.where(is_definite, jnp.sum(jnp.where(first_one[:, None, None], factors, 0.0), axis=0), eye)
    used = jnp.sum(jnp.where(first_one, shifts, 0.0))
    # Remember the shift: smaller next time if none was needed, much larger if none sufficed.
    needed = jnp.where(definite[0], last_shift / 3, used)
    shift = jnp.where(is_definite, needed, 100 * shifts[-1])
    shifted = eqx.tree_at(lambda s: s.matrix, system, system.matrix + used * eye)
    # One triangular solve for the Schur complement and the right-hand side together: see the note on chains above.
    right = system.right(system.h, system.offset)
    halves = jsl.solve_triangular(factor, jnp.column_stack([system.jacobian_h.T, right]), lower=True)
    half = halves[:, :-1]
    return Factors(shifted, factor, half, _schur(half), halves[:, -1], shift, size, is_definite)


def _schur(half: Float[Array, "n h"]) -> Float[Array, "h h"]:
    """Cholesky factor of `S = Jh M⁻¹ Jhᵀ`, with a ridge that dependent rows of `Jh` need; refinement undoes it."""
    if half.shape[1] == 0:
        return jnp.zeros((0, 0), half.dtype)
    schur, eye = half.T @ half, jnp.eye(half.shape[1], dtype=half.dtype)
    eps = jnp.finfo(half.dtype).eps
    ridge = jnp.maximum(10 * eps**0.75 * jnp.max(jnp.diagonal(schur)), eps**2)
    factor = jnp.linalg.cholesky(schur + ridge * eye, symmetrize_input=False)
    return jnp.where(jnp.all(jnp.isfinite(jnp.diagonal(factor))), factor, eye)


def newton_system(constants: Constants, state: State, at: Evaluation) -> System:
    """The Newton system of the barrier problem; while restoring, that of the violation.

    The latter minimises `½‖h‖² + ½‖g₊‖²` with a vanishing barrier on the bounds. Its rows and equalities are empty
    (zero Jacobians), so that one factorisation serves both kinds of step.
    """
    free = ~constants.is_fixed
    keep = free.astype(state.x.dtype)
    n_g, n = state.slack.size, state.x.size
    jacobian_g, jacobian_h = at.jacobian_g * keep, at.jacobian_h * keep
    t = distances(constants, state.x, state.slack)
    mu = jnp.where(state.restoring, restoration_barrier(state, at), state.mu)
    centred = jnp.where(constants.exists, mu / t, 0.0)
    is_bound = jnp.arange(t.size) >= n_g
    sigma = jnp.where(state.restoring, jnp.where(is_bound, centred / t, 0.0), state.dual / t)
    violated = jnp.where(at.g > 0, 1.0, 0.0).astype(at.g.dtype)
    weight = jnp.where(state.restoring, violated, sigma[:n_g])
    # The violation's Hessian: Gauss-Newton's part, and the multipliers' part that `evaluate` returns.
    hessian = at.hessian * keep * keep[:, None]
    hessian = hessian + jnp.where(state.restoring, jacobian_h.T @ jacobian_h, 0.0)
    curvature = hessian + (jacobian_g.T * weight) @ jacobian_g
    damping = jnp.finfo(state.x.dtype).eps ** 0.5 * (1.0 + jnp.trace(curvature) / max(n, 1))
    diagonal = sigma[n_g : n_g + n] + sigma[n_g + n :] + jnp.where(state.restoring, damping, 0.0)
    matrix = curvature + jnp.diag(jnp.where(free, diagonal, 1.0))
    normal = (jacobian_g, jacobian_h, at.gradient, at.h, _augmentation(hessian, jacobian_h), sigma, centred)
    gradient = at.violation_gradient
    bounds_only = jnp.where(is_bound, 1.0, 0.0).astype(t.dtype)
    repair = (
        0 * jacobian_g, 0 * jacobian_h, gradient, 0 * at.h, jnp.zeros_like(mu),
        sigma * bounds_only, centred * bounds_only,
    )  # fmt: skip
    jacobian_g, jacobian_h, gradient, h, rho, sigma, centred = tree_where(state.restoring, repair, normal)
    offset = jnp.where(state.restoring, 0.0, at.g + state.slack)
    offset = jnp.concatenate([offset, jnp.zeros_like(t[n_g:])])
    return System(matrix, jacobian_g, jacobian_h, jnp.where(free, gradient, 0.0), h, rho, sigma, centred, offset)


def restoration_barrier(state: State, at: Evaluation) -> Scalar:
    """Barrier parameter on the bounds while restoring: it vanishes with the progress of the restoration."""
    return 1e-2 * at.violation**2 * jnp.maximum(state.decay, 1e-10)


def _augmentation(hessian: Float[Array, "n n"], jacobian_h: Float[Array, "h n"]) -> Scalar:
    """ρ: so large that `ρ σ_min(Jh)²` outweighs the Hessian for `σ_min` down to about a hundredth of `σ_max` (long
    chains of dynamics are like that), yet moderate enough to keep the Cholesky factor accurate in the dtype."""
    if jacobian_h.shape[0] == 0:
        return jnp.zeros((), hessian.dtype)
    size = jnp.max(jnp.abs(hessian), initial=0.0)
    slope = jnp.max(jnp.sum(jacobian_h**2, axis=1), initial=0.0)
    reach = jnp.finfo(hessian.dtype).eps ** -0.25
    return reach * jnp.maximum(size, 1e-3) / jnp.maximum(slope, 1e-8)
