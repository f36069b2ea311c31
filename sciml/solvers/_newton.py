"""The condensed primal-dual Newton system, its inertia test and its solution.

Inequalities with slacks and bounds are rows of one kind, `a(x) + t = 0` with `t > 0`, multipliers `y` and Jacobian
`C = [Jg; -I; I]`. With `Σ = y / t`, one Newton step on the perturbed KKT conditions reads, after eliminating
`dt = -(a + t) - C dx` and `dy = μ/t - y + Σ (a + t + C dx)`,

    [ M   Jhᵀ ] [ dx ]     [ b ]     M = W + CᵀΣC + δ I
    [ Jh   0  ] [ ν⁺ ] = - [ h ]     b = ∇f + Cᵀ(μ/t + Σ (a + t))

A model factorises `M` with its equalities (`_dense`, `_stage_model`), and tells whether `M` is positive definite on
their null space: that is the inertia test. Every factorisation here depends on the one before it. That is deliberate:
jaxlib's batched LAPACK calls wait for workers of the thread pool that they run in, so that two independent calls in
one program can wait for each other for ever on a machine with two cores.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..core import tree_where, where_needed
from ._dense import DenseFactors
from ._evaluate import Evaluation
from ._models import ScaledModel
from ._stage_model import StageFactors
from ._state import Constants, distances, excess, Rows, State, Vector

_GROWTH = 8.0  # of the Hessian shift from trial to trial
_TRIALS = 4  # shifts tried in one pass


class System(eqx.Module):
    """A condensed Newton system before factorisation, and what is needed to expand its solution."""

    model: ScaledModel
    free: Bool[Array, " n"]
    """Entries that are not fixed by their bounds."""
    weights: Rows
    """Of the rows in the matrix."""
    gradient: Vector
    """`∇f`."""
    h: Float[Array, " h"]
    delta: Scalar
    """Regularisation of the equalities."""
    softness: Scalar
    """How much of it is meant: one where equalities count as squares, else zero."""
    damping: Scalar
    diagonal: Scalar
    """The largest diagonal entry of the matrix in absolute value."""
    sigma: Rows
    centred: Rows
    """`μ / t`."""
    bent: Rows
    """What the product of the predicted steps adds to it, `-dt dy / t`."""
    offset: Rows
    """`a + t`: `g + s` for inequalities, zero for bounds."""

    def times(self, dx: Vector, shift: Scalar) -> Vector:
        """`(M + shift I) dx`."""
        model = self.model
        total = model.curvature(dx) + model.rows_transposed(self.weights * model.rows(dx))
        return total + (shift + self.damping) * dx

    def right(self, offset: Rows) -> Vector:
        """`-b` for `a + t = offset`."""
        b = self.gradient + self.model.rows_transposed(self.centred + self.bent + self.sigma * offset)
        return jnp.where(self.free, -b, 0.0)


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
    factors: DenseFactors | StageFactors
    used: Scalar
    """The Hessian shift in the matrix."""
    shift: Scalar
    """What to remember of it; a suggestion for the next pass if none was large enough."""
    size: Scalar
    """Size of the matrix, to measure shifts by."""
    is_definite: Bool[Array, ""]

    def direction(self, dual: Rows) -> Direction:
        """The Newton step, refined once against the unregularised system."""
        system, model = self.system, self.system.model
        right, level = system.right(system.offset), -system.h
        dx, nu = self._solve(right, level)
        rest = right - system.times(dx, self.used) - model.equalities_transposed(nu)
        ddx, dnu = self._solve(jnp.where(system.free, rest, 0.0), level - model.equalities(dx) + system.softness * nu)
        return self._expand(dx + ddx, nu + dnu, system.offset, dual)

    def affine(self, dual: Rows) -> Direction:
        """The step to the conditions without a barrier, from the same factors."""
        system = eqx.tree_at(lambda s: s.centred, self.system, jnp.zeros_like(self.system.centred))
        dx, nu = self._solve(system.right(system.offset), -system.h)
        along = system.offset + system.model.rows(dx)
        return Direction(dx, -along[: system.model.ineq.size], -along, system.sigma * along - dual, nu)

    def centred_at(self, constants: Constants, state: State, products: Rows) -> "Factors":
        """The same for another barrier parameter, that of `state`."""
        t = distances(constants, state.x, state.slack)
        other = state.restoring | (state.finishing > 0)
        centred = jnp.where(other, self.system.centred, jnp.where(constants.exists, state.mu / t, 0.0))
        bent = jnp.where(other | ~constants.exists, 0.0, -products / t)
        return eqx.tree_at(lambda f: (f.system.centred, f.system.bent), self, (centred, bent))

    def corrected(self, h: Float[Array, " h"], offset: Rows, dual: Rows) -> Direction:
        """The step for other constraint values `h` and `a + t = offset`, from the same factors."""
        return self._expand(*self._solve(self.system.right(offset), -h), offset, dual)

    def mended(self, h: Float[Array, " h"]) -> Vector:
        """The least step, in the metric of the matrix, that takes the equalities from `h` to zero."""
        return self._solve(jnp.zeros_like(self.system.gradient), -h)[0]

    def _solve(self, right: Vector, level: Float[Array, " h"]) -> tuple[Vector, Array]:
        dx, nu = self.system.model.solve(self.factors, right, level)
        return jnp.where(self.system.free, dx, 0.0), nu

    def _expand(self, dx: Vector, nu: Float[Array, " h"], offset: Rows, dual: Rows) -> Direction:
        system = self.system
        along = offset + system.model.rows(dx)
        n_g = system.model.ineq.size
        return Direction(dx, -along[:n_g], -along, system.centred + system.bent + system.sigma * along - dual, nu)


def factorise(system: System, last_shift: Scalar, floor: Scalar) -> Factors:
    """Factors at the smallest shift of a ladder that makes the matrix positive definite.

    The first rung serves nearly always. The others are climbed in a loop, which a batch enters only where one of its
    instances has to.
    """
    size = jnp.maximum(1.0, system.diagonal**0.5)
    first = jnp.where(last_shift > 0, last_shift / 3, 1e-4 * size)
    attempt = lambda shift: system.model.factorise(system.weights, shift + system.damping, system.delta)
    factors = attempt(floor)

    def climbing(carry: tuple[Any, Scalar, Array]) -> Array:
        return ~carry[0].is_definite & (carry[2] < _TRIALS - 1)

    def climb(carry: tuple[Any, Scalar, Array]) -> tuple[Any, Scalar, Array]:
        _, shift, count = carry
        shift = floor + first * _GROWTH ** count.astype(shift.dtype)
        return attempt(shift), shift, count + 1

    # In a loop of its own: what does not vary over the rungs would leave the inner one and be computed always.
    def ladder() -> tuple[Any, Scalar]:
        return jax.lax.while_loop(climbing, climb, (factors, floor, jnp.asarray(0)))[:2]

    factors, used = where_needed(~factors.is_definite, ladder, (factors, floor))
    # Remember the shift: smaller next time if none was needed, much larger if none sufficed.
    needed = jnp.where(used > floor, used, last_shift / 3)
    shift = jnp.where(factors.is_definite, needed, 100 * used)
    return Factors(system, factors, used, shift, size, factors.is_definite)


def newton_system(constants: Constants, state: State, at: Evaluation) -> System:
    """The Newton system of the barrier problem; while restoring, that of the violation.

    The latter minimises `½‖h‖² + ½‖g₊‖²` with a vanishing barrier on the bounds: the equalities count as squares, which
    is what a regularisation of one makes of them. Where a model eliminates its equalities, they are satisfied to
    first order instead.
    """
    model, dtype = at.model, state.x.dtype
    free = ~constants.is_fixed
    n_g, n = state.slack.size, state.x.size
    t = distances(constants, state.x, state.slack)
    mu = jnp.where(state.restoring, restoration_barrier(state, at), state.mu)
    centred = jnp.where(constants.exists, mu / t, 0.0)
    is_bound = jnp.arange(t.size) >= n_g
    on_bounds = is_bound.astype(dtype)
    sigma = jnp.where(state.restoring, on_bounds * centred / t, state.dual / t)
    # The equations of the active set: a proximal step of the method of multipliers, with softness eps^½.
    a = excess(constants, state.x, at.g)
    active = (constants.exists & (state.dual > -a)).astype(dtype)
    violated = jnp.concatenate([jnp.where(at.g > 0, 1.0, 0.0).astype(dtype), sigma[n_g:]])
    size = jnp.maximum(model.size(), 1e-3)
    sigma = jnp.where(state.finishing > 0, active * size / jnp.finfo(dtype).eps ** 0.5, sigma)
    weights = jnp.where(state.restoring, violated, sigma)
    # Entries fixed by their bounds do not move: their own diagonal entry outweighs all others.
    diagonal = model.largest_diagonal(weights)
    pin = jnp.where(constants.is_fixed, 1e8 * jnp.maximum(size, diagonal), 0.0)
    pinned = jnp.concatenate([jnp.zeros(n_g, dtype), pin, jnp.zeros(n, dtype)])
    slope = model.eq_size()
    delta = jnp.finfo(dtype).eps ** 0.5 * jnp.where(slope > 0, slope, 1.0) / size
    reach = 1.0 + model.largest_diagonal(jnp.where(is_bound, 0.0, weights)) + slope
    damping = jnp.where(state.restoring, jnp.finfo(dtype).eps ** 0.5 * reach, 0.0)
    gradient = at.gradient
    if model.eliminates:
        repair, level, soft = at.violation_gradient - model.equalities_transposed(at.h), at.h, delta
    else:
        repair, level, soft = at.violation_gradient, jnp.zeros_like(at.h), jnp.ones_like(delta)
    gradient, h, delta = tree_where(state.restoring, (repair, level, soft), (gradient, at.h, delta))
    centred = jnp.where(state.restoring, on_bounds * centred, centred)
    centred = jnp.where(state.finishing > 0, active * state.dual, centred)
    offset = jnp.where(state.restoring, 0.0, at.g + state.slack)
    offset = jnp.concatenate([offset, jnp.zeros_like(t[n_g:])])
    offset = jnp.where(state.finishing > 0, active * a, offset)
    weights = weights + pinned
    softness = jnp.where(state.restoring & (not model.eliminates), delta, 0.0)
    return System(
        model, free, weights, gradient, h, delta, softness, damping, diagonal, sigma, centred, jnp.zeros_like(t), offset
    )  # fmt: skip


def restoration_barrier(state: State, at: Evaluation) -> Scalar:
    """Barrier parameter on the bounds while restoring: it vanishes with the progress of the restoration."""
    return 1e-2 * at.violation**2 * jnp.maximum(state.decay, 1e-10)
