"""The condensed primal-dual Newton system, its inertia test and its solution.

With slacks `g + s = 0`, multipliers `λ` of the inequalities and `ζ` of the bounds, one Newton step on the perturbed
KKT conditions reads, after eliminating `ds = -(g + s) - Jg dx` and the multipliers of slacks and bounds,

    [ M   Jhᵀ ] [ dx ]     [ b ]     M = W + Σ_bounds + Jgᵀ Σ_s Jg + δ I,   Σ_s = λ / s
    [ Jh   0  ] [ ν⁺ ] = - [ h ]     b = ∇f + Jgᵀ(μ/s + Σ_s (g + s)) - μ/(x-l) + μ/(u-x)

Adding `ρ Jhᵀ (Jh dx + h) = 0` to the first row leaves the solution alone and makes `M + ρ JhᵀJh` positive definite
for large ρ exactly when `M` is positive definite on the null space of `Jh` (Debreu 1952): its Cholesky factor is the
inertia test. The equality multipliers follow from the Schur complement `S = Jh (M + ρ JhᵀJh)⁻¹ Jhᵀ`.

Every factorisation and triangular solve here depends on the one before it. That is deliberate: jaxlib's batched LAPACK
calls wait for workers of the thread pool that they run in, so that two independent calls in one program can wait for
each other for ever on a machine with two cores.
"""

from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float, Scalar

from ._evaluate import Evaluation

if TYPE_CHECKING:
    from ._interior_point import Constants, State

_SHIFTS = (0.0, 1.0, 8.0, 64.0)  # trial Hessian shifts of one pass, as multiples of the first


class System(eqx.Module):
    """A condensed Newton system before factorisation, and what is needed to expand its solution."""

    matrix: Float[Array, "n n"]
    jacobian_h: Float[Array, "h n"]
    jacobian_g: Float[Array, "g n"]
    gradient: Float[Array, " n"]
    h: Float[Array, " h"]
    rho: Scalar
    sigma: Float[Array, " g"]
    offset: Float[Array, " g"]
    """`g + s`."""
    ineq: Float[Array, " g"]
    centred: Float[Array, " g"]
    """`μ / s`."""
    below: Float[Array, " n"]
    above: Float[Array, " n"]
    sigma_low: Float[Array, " n"]
    sigma_high: Float[Array, " n"]
    centred_low: Float[Array, " n"]
    centred_high: Float[Array, " n"]

    def step_gradient(self, offset: Float[Array, " g"]) -> Float[Array, " n"]:
        """`b` for constraint values `g + s = offset`."""
        return self.gradient + self.jacobian_g.T @ (self.centred + self.sigma * offset)


class Direction(eqx.Module):
    """A primal-dual step, and the factors to compute another for other constraint values."""

    x: Float[Array, " n"]
    slack: Float[Array, " g"]
    eq: Float[Array, " h"]
    """The *new* equality multipliers."""
    ineq: Float[Array, " g"]
    below: Float[Array, " n"]
    above: Float[Array, " n"]
    shift: Scalar
    size: Scalar
    """Size of the matrix, to measure shifts by."""
    is_definite: Bool[Array, ""]
    system: System
    factor: Float[Array, "n n"]
    schur_half: Float[Array, "n h"]
    schur_factor: Float[Array, "h h"]

    @staticmethod
    def solve(system: System, last_shift: Scalar, floor: Scalar) -> "Direction":
        """Factors at the smallest shift of the ladder that makes the matrix positive definite, and solves."""
        n = system.matrix.shape[0]
        dtype = system.matrix.dtype
        size = jnp.maximum(1.0, jnp.max(jnp.abs(jnp.diagonal(system.matrix)), initial=0.0) ** 0.5)
        first = jnp.where(last_shift > 0, last_shift / 3, 1e-4 * size)
        shifts = floor + first * jnp.asarray(_SHIFTS, dtype)
        augmented = system.matrix + system.rho * system.jacobian_h.T @ system.jacobian_h
        eye = jnp.eye(n, dtype=dtype)
        factors = jax.vmap(lambda d: jnp.linalg.cholesky(augmented + d * eye))(shifts)
        definite = jnp.all(jnp.isfinite(factors), axis=(1, 2))
        choice = jnp.argmax(definite)
        is_definite = jnp.any(definite)
        factor = jnp.where(is_definite, factors[choice], eye)
        # Remember the shift: smaller next time if none was needed, much larger if none sufficed.
        needed = jnp.where(choice == 0, last_shift / 3, shifts[choice])
        shift = jnp.where(is_definite, needed, 100 * shifts[-1])
        shifted = eqx.tree_at(
            lambda s: s.matrix, system, system.matrix + jnp.where(is_definite, shifts[choice], 0.0) * eye
        )
        # One triangular solve for the Schur complement and the right-hand side together: see the note on chains above.
        rhs = -system.step_gradient(system.offset) - system.rho * system.jacobian_h.T @ system.h
        halves = jsl.solve_triangular(factor, jnp.column_stack([system.jacobian_h.T, rhs]), lower=True)
        half, w = halves[:, :-1], halves[:, -1]
        schur_factor = _schur_factor(half)
        zeros = jnp.zeros(n, dtype)
        empty = Direction(
            zeros, system.offset, system.h, system.offset, zeros, zeros, shift, size, is_definite,
            shifted, factor, half, schur_factor,
        )  # fmt: skip
        return empty._refined(w, system.h, system.offset)

    def resolve(self, h: Float[Array, " h"], offset: Float[Array, " g"]) -> "Direction":
        """The step for constraint values `h` and `g + s = offset`, from the same factors."""
        system = self.system
        rhs = -system.step_gradient(offset) - system.rho * system.jacobian_h.T @ h
        return self._refined(jsl.solve_triangular(self.factor, rhs, lower=True), h, offset)

    def _refined(self, w: Float[Array, " n"], h: Float[Array, " h"], offset: Float[Array, " g"]) -> "Direction":
        """The step from the half-solved right-hand side `w`, refined once against the unregularised system."""
        system = self.system
        dx, nu = self._back_substitute(w, -h)
        r1 = -system.step_gradient(offset) - system.matrix @ dx - system.jacobian_h.T @ nu
        r2 = -h - system.jacobian_h @ dx
        rest = r1 + system.rho * system.jacobian_h.T @ r2
        ddx, dnu = self._back_substitute(jsl.solve_triangular(self.factor, rest, lower=True), r2)
        dx, nu = dx + ddx, nu + dnu
        along = system.jacobian_g @ dx
        return eqx.tree_at(
            lambda d: (d.x, d.slack, d.eq, d.ineq, d.below, d.above),
            self,
            (
                dx,
                -offset - along,
                nu,
                system.centred + system.sigma * (offset + along) - system.ineq,
                system.centred_low - system.below - system.sigma_low * dx,
                system.centred_high - system.above + system.sigma_high * dx,
            ),
        )

    def _back_substitute(self, w: Float[Array, " n"], r2: Float[Array, " h"]) -> tuple[Array, Array]:
        """`[dx; ν]` from `w = L⁻¹ r`: `S ν = Jh M⁻¹ r - r2`, then `Lᵀ dx = w - L⁻¹Jhᵀ ν`."""
        nu = jsl.cho_solve((self.schur_factor, True), self.schur_half.T @ w - r2)
        dx = jsl.solve_triangular(self.factor, w - self.schur_half @ nu, lower=True, trans=1)
        return dx, nu


def _schur_factor(half: Float[Array, "n h"]) -> Float[Array, "h h"]:
    """Cholesky factor of `S = Jh M⁻¹ Jhᵀ`, with a ridge that dependent rows of `Jh` need."""
    schur, eye = half.T @ half, jnp.eye(half.shape[1], dtype=half.dtype)
    eps = jnp.finfo(half.dtype).eps
    ridge = jnp.maximum(10 * eps * jnp.max(jnp.diagonal(schur), initial=0.0), eps**2)
    factor = jnp.linalg.cholesky(schur + ridge * eye)
    return jnp.where(jnp.all(jnp.isfinite(factor)), factor, eye)


def newton_direction(constants: "Constants", state: "State", at: Evaluation) -> System:
    """The Newton system of the barrier problem at the iterate."""
    free = ~constants.is_fixed
    low, high = _gaps(constants, state)
    has_low, has_high = constants.has_lower & free, constants.has_upper & free
    centred_low = jnp.where(has_low, state.mu / low, 0.0)
    centred_high = jnp.where(has_high, state.mu / high, 0.0)
    sigma_low = jnp.where(has_low, state.below / low, 0.0)
    sigma_high = jnp.where(has_high, state.above / high, 0.0)
    sigma = state.ineq / state.slack
    keep = free.astype(state.x.dtype)
    jacobian_g, jacobian_h = at.jacobian_g * keep, at.jacobian_h * keep
    hessian = at.hessian * keep * keep[:, None] + jnp.diag(jnp.where(free, 0.0, 1.0))
    matrix = hessian + jnp.diag(sigma_low + sigma_high) + (jacobian_g.T * sigma) @ jacobian_g
    return System(
        matrix, jacobian_h, jacobian_g,
        gradient=jnp.where(free, at.gradient - centred_low + centred_high, 0.0),
        h=at.h, rho=_augmentation(hessian, jacobian_h), sigma=sigma, offset=at.g + state.slack, ineq=state.ineq,
        centred=state.mu / state.slack, below=state.below, above=state.above, sigma_low=sigma_low,
        sigma_high=sigma_high, centred_low=centred_low, centred_high=centred_high,
    )  # fmt: skip


def restoration_direction(constants: "Constants", state: "State", at: Evaluation) -> System:
    """A Levenberg-Marquardt system for `½‖h‖² + ½‖g₊‖²` with a vanishing barrier on the bounds.

    The equality block is empty (zero Jacobian), so that the same factorisation serves both kinds of step.
    """
    free = ~constants.is_fixed
    low, high = _gaps(constants, state)
    violated = jnp.where(at.g > 0, 1.0, 0.0).astype(at.g.dtype)
    keep = free.astype(state.x.dtype)
    jacobian_g, jacobian_h = at.jacobian_g * keep, at.jacobian_h * keep
    barrier = restoration_barrier(state, at)
    slope_low = jnp.where(constants.has_lower & free, barrier / low, 0.0)
    slope_high = jnp.where(constants.has_upper & free, barrier / high, 0.0)
    curvature = slope_low / low + slope_high / high
    gauss_newton = (jacobian_g.T * violated) @ jacobian_g + jacobian_h.T @ jacobian_h
    damping = jnp.sqrt(jnp.finfo(state.x.dtype).eps) * (1.0 + jnp.trace(gauss_newton) / max(state.x.size, 1))
    zero_g, zero_n = jnp.zeros_like(at.g), jnp.zeros_like(state.x)
    return System(
        gauss_newton + jnp.diag(curvature + jnp.where(free, damping, 1.0)),
        jnp.zeros_like(at.jacobian_h), jnp.zeros_like(at.jacobian_g),
        gradient=jnp.where(free, at.violation_gradient - slope_low + slope_high, 0.0),
        h=jnp.zeros_like(at.h), rho=jnp.zeros((), state.x.dtype), sigma=zero_g, offset=zero_g, ineq=state.ineq,
        centred=zero_g, below=state.below, above=state.above, sigma_low=zero_n, sigma_high=zero_n,
        centred_low=state.below, centred_high=state.above,
    )  # fmt: skip


def restoration_barrier(state: "State", at: Evaluation) -> Scalar:
    """Barrier parameter on the bounds while restoring: it vanishes with the progress of the restoration."""
    decay = 0.2 ** jnp.minimum(state.steps, 30).astype(state.x.dtype)
    return 1e-2 * at.violation**2 * jnp.maximum(decay, 1e-10)


def to_boundary(state: "State", direction: Direction) -> Scalar:
    """The longest dual step that keeps multipliers positive: the fraction-to-the-boundary rule."""
    tau = fraction(state)
    old = jnp.concatenate([state.ineq, state.below, state.above])
    step = jnp.concatenate([direction.ineq, direction.below, direction.above])
    return largest_step(old, step, tau, old > 0)


def fraction(state: "State") -> Scalar:
    """`τ = max(0.99, 1 - μ)`: how much of the way to the boundary a step may go."""
    return jnp.maximum(0.99, 1.0 - state.mu)


def largest_step(old: Array, step: Array, tau: Scalar, relevant: Any) -> Scalar:
    """The largest `α <= 1` with `old + α step >= (1 - τ) old` in the relevant entries."""
    shrinking = relevant & (step < 0)
    ratio = jnp.where(shrinking, -tau * old / jnp.where(shrinking, step, 1.0), 1.0)
    return jnp.minimum(1.0, jnp.min(ratio, initial=1.0))


def _gaps(constants: "Constants", state: "State") -> tuple[Array, Array]:
    free = ~constants.is_fixed
    low = jnp.where(constants.has_lower & free, state.x - constants.lower, 1.0)
    high = jnp.where(constants.has_upper & free, constants.upper - state.x, 1.0)
    return low, high


def _augmentation(hessian: Array, jacobian_h: Array) -> Scalar:
    """ρ: so large that `ρ σ_min(Jh)²` outweighs the Hessian for `σ_min` down to about a hundredth of `σ_max` (long
    chains of dynamics are like that), yet moderate enough to keep the Cholesky factor accurate in the dtype."""
    size = jnp.max(jnp.abs(hessian), initial=0.0)
    slope = jnp.max(jnp.sum(jacobian_h**2, axis=1), initial=0.0)
    reach = jnp.finfo(hessian.dtype).eps ** -0.25
    return reach * jnp.maximum(size, 1e-3) / jnp.maximum(slope, 1e-8)
