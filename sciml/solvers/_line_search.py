"""A step length from a short ladder, judged by an exact-penalty merit function, all trials evaluated at once."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..programs import FlatProgram
from ._evaluate import Evaluation, values
from ._newton import Direction, Factors, restoration_barrier
from ._state import Constants, distances, fraction, largest_step, State, Vector

_HALVINGS = (0, 1, 2, 3, 4, 6, 8, 10, 13, 16)  # trial steps: the way to the boundary, halved this often
_ARMIJO = 1e-4


class Trial(eqx.Module):
    """The chosen trial point, or the old one where none was good enough."""

    x: Vector
    slack: Float[Array, " g"]
    length: Scalar
    penalty: Scalar
    violation: Scalar
    accepted: Bool[Array, ""]
    any_finite: Bool[Array, ""]


class _Merit(eqx.Module):
    """`φ = f - μ Σ log(t) + π (‖h‖₁ + ‖g + s‖₁)`; while restoring, `½‖h‖² + ½‖g₊‖²` with a small barrier on bounds."""

    constants: Constants
    restoring: Bool[Array, ""]
    barrier: Scalar
    penalty: Scalar

    def __call__(self, x: Vector, slack: Array, f: Scalar, g: Array, h: Array) -> tuple[Scalar, Scalar]:
        """The merit, and the size of what was added up in it (its rounding error is a part of that)."""
        t = distances(self.constants, x, jnp.where(self.restoring, 1.0, slack))
        logs = self.barrier * jnp.sum(jnp.log(t))
        distance = self.penalty * (jnp.sum(jnp.abs(h)) + jnp.sum(jnp.abs(g + slack)))
        squares = 0.5 * (jnp.sum(h**2) + jnp.sum(jnp.maximum(g, 0.0) ** 2))
        cost = jnp.where(self.restoring, squares, f + distance)
        size = jnp.where(self.restoring, squares, jnp.abs(f) + distance)
        # At a point outside the functions' domain f is NaN and so must the merit be, restoring or not.
        return jnp.where(jnp.isfinite(f), cost - logs, jnp.inf), size + jnp.abs(logs)


def search(
    program: FlatProgram,
    constants: Constants,
    state: State,
    at: Evaluation,
    factors: Factors,
    direction: Direction,
    p: Any,
) -> Trial:
    """The longest step of the ladder that decreases the merit function enough.

    The ladder holds fractions of the way to the boundary, and a second-order correction of the longest step (Nocedal &
    Wright 2006, section 18.11), which avoids the Maratos effect.
    """
    penalty, slope = _penalty_and_slope(state, at, factors, direction)
    barrier = jnp.where(state.restoring, restoration_barrier(state, at), state.mu)
    merit = _Merit(constants, state.restoring, barrier, penalty)
    start, size = merit(state.x, state.slack, at.f, at.g, at.h)

    longest = _longest(constants, state, direction)
    lengths = longest * 0.5 ** jnp.asarray(_HALVINGS, state.x.dtype)
    xs = state.x + lengths[:, None] * direction.x
    slacks = state.slack + lengths[:, None] * direction.slack
    point = lambda x: values(program, x, state.scaling, p)
    fs, gs, hs = jax.vmap(point)(xs)

    offset = longest * (at.g + state.slack) + gs[0] + slacks[0]
    offset = jnp.concatenate([offset, jnp.zeros_like(direction.rows[offset.size :])])
    other = factors.corrected(longest * at.h + hs[0], offset, state.dual)
    length = _longest(constants, state, other)
    x, slack = state.x + length * other.x, state.slack + length * other.slack

    # Tried in the order 1, corrected, ½, ¼, ...
    insert = lambda many, one: jnp.concatenate([many[:1], one[None], many[1:]])
    trials = jax.tree.map(insert, (xs, slacks, fs, gs, hs, lengths), (x, slack, *point(x), longest))
    xs, slacks, fs, gs, hs, lengths = trials
    # A slack below -g only adds violation: raising it to -g lowers both the barrier and the penalty term.
    slacks = jnp.maximum(slacks, -gs)
    scores, _ = jax.vmap(merit)(xs, slacks, fs, gs, hs)
    # What rounding alone can change: the constraints' own terms are of order one in the scaled program.
    noise = 10 * jnp.finfo(state.x.dtype).eps * (1.0 + penalty + size)
    good = jnp.isfinite(scores) & (scores <= start + _ARMIJO * lengths * slope + noise)
    choice, accepted = jnp.argmax(good), jnp.any(good)
    pick = lambda many, one: jnp.where(accepted, many[choice], one)
    # While restoring the slacks follow the constraints.
    slacks = jnp.where(state.restoring, jnp.maximum(-gs, state.mu), slacks)
    violations = jnp.max(jnp.concatenate([jnp.maximum(gs, 0.0), jnp.abs(hs)], axis=1), axis=1, initial=0.0)
    return Trial(
        pick(xs, state.x),
        pick(slacks, state.slack),
        pick(lengths, jnp.zeros_like(longest)),
        jnp.where(state.restoring, state.penalty, penalty),
        pick(violations, at.violation),
        accepted,
        jnp.any(jnp.isfinite(scores)),
    )


def _longest(constants: Constants, state: State, direction: Direction) -> Scalar:
    """The longest primal step that stays strictly inside bounds and slacks."""
    t = distances(constants, state.x, state.slack)
    is_slack = jnp.arange(t.size) < state.slack.size
    relevant = constants.exists & ~(is_slack & state.restoring)
    return largest_step(t, direction.rows, fraction(state.mu), relevant)


def _penalty_and_slope(state: State, at: Evaluation, factors: Factors, direction: Direction) -> tuple[Scalar, Scalar]:
    """The penalty weight that makes the step a descent direction of the merit function, and the slope along it.

    `π >= (∇φ_μᵀd + ½ dᵀHd) / ((1 - ρ) decrease of ‖c‖₁)`: Waltz et al. (2006), equation (3.5), with ρ = 0.1.
    """
    system, dx = factors.system, direction.x
    barrier_slope = system.gradient @ dx - jnp.sum(system.centred * direction.rows)
    # dᵀHd with the rows' share measured along dt instead of A dx, as the merit function is in (x, s).
    along = system.model.rows(dx)
    curvature = dx @ system.times(dx, factors.used)
    curvature = curvature + jnp.sum(system.sigma * (direction.rows**2 - along**2))
    offset = at.g + state.slack
    before = jnp.sum(jnp.abs(at.h)) + jnp.sum(jnp.abs(offset))
    after = jnp.sum(jnp.abs(at.h + at.model.equalities(dx)))
    after = after + jnp.sum(jnp.abs(offset + along[: offset.size] + direction.slack))
    decrease = before - after
    tiny = jnp.finfo(state.x.dtype).tiny ** 0.5
    wanted = (barrier_slope + 0.5 * jnp.maximum(curvature, 0.0)) / jnp.maximum(0.9 * decrease, tiny)
    enough = (decrease <= tiny) | (state.penalty >= wanted) | ~jnp.isfinite(wanted) | ~factors.is_definite
    # A transient of huge multipliers must not rule the rest of the solve: what is ten times too large is halved.
    multipliers = jnp.concatenate([state.dual[: state.slack.size], jnp.abs(state.eq)])
    needed = jnp.maximum(1.5 * wanted + 1.0, 2.0 * jnp.max(multipliers, initial=0.0))
    relaxed = jnp.where(state.penalty > 10.0 * needed, 0.5 * state.penalty, state.penalty)
    penalty = jnp.where(enough, relaxed, jnp.minimum(1.5 * wanted + 1.0, 1e12))
    slope = barrier_slope - jnp.where(state.restoring, 0.0, penalty * decrease)
    return penalty, jnp.minimum(slope, 0.0)
