"""A step length from a short ladder, judged by an exact-penalty merit function."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..core import where_needed
from ..programs import FlatProgram
from ._evaluate import Evaluation, values
from ._newton import Direction, Factors, restoration_barrier
from ._state import Constants, distances, fraction, largest_step, State, Vector

# Trial steps: the way to the boundary, halved so often.
_HALVINGS = (1, 2, 3, 4, 6, 8, 10, 13, 16)
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


class _Search(eqx.Module):
    """What all trials of one search share."""

    program: FlatProgram
    constants: Constants
    state: State
    merit: _Merit
    enough: Scalar
    """The merit of a trial of length zero, and what rounding alone can change."""
    slope: Scalar
    p: Any

    def at(self, x: Vector, slack: Array, length: Scalar) -> "_Attempt":
        """The trial at a point."""
        state = self.state
        f, g, h = values(self.program, x, state.scaling, self.p)
        # A slack below -g only adds violation: raising it to -g lowers both the barrier and the penalty term. Where the
        # equations of the active set are solved, slacks follow the constraints, and any finite step counts.
        slack = jnp.where(state.finishing > 0, jnp.maximum(-g, state.mu), jnp.maximum(slack, -g))
        score, _ = self.merit(x, slack, f, g, h)
        good = (score <= self.enough + _ARMIJO * length * self.slope) | (state.finishing > 0)
        good = good & jnp.isfinite(score)
        # While restoring they follow them too.
        slack = jnp.where(state.restoring, jnp.maximum(-g, state.mu), slack)
        return _Attempt(x, slack, length, g, h, good, jnp.isfinite(score))


class _Attempt(eqx.Module):
    """One trial point."""

    x: Vector
    slack: Float[Array, " g"]
    length: Scalar
    g: Float[Array, " g"]
    h: Float[Array, " h"]
    accepted: Bool[Array, ""]
    any_finite: Bool[Array, ""]


def search(
    program: FlatProgram,
    constants: Constants,
    state: State,
    at: Evaluation,
    factors: Factors,
    direction: Direction,
    p: Any,
) -> Trial:
    """The longest step of a ladder that decreases the merit function enough.

    First the way to the boundary, then a second-order correction of it (Nocedal & Wright 2006, section 18.11), which
    avoids the Maratos effect, then fractions. Most steps are accepted at once: what comes after the first trial is in
    loops, which a batch enters only where one of its instances has to.
    """
    penalty, slope = _penalty_and_slope(state, at, factors, direction)
    barrier = jnp.where(state.restoring, restoration_barrier(state, at), state.mu)
    merit = _Merit(constants, state.restoring, barrier, penalty)
    start, size = merit(state.x, state.slack, at.f, at.g, at.h)
    # What rounding alone can change: the constraints' own terms are of order one in the scaled program.
    weight = jnp.where(state.restoring, 0.0, penalty)
    noise = 10 * jnp.finfo(state.x.dtype).eps * (1.0 + weight + size)
    trials = _Search(program, constants, state, merit, start + noise, slope, p)
    longest = _longest(constants, state, direction)
    fraction_of = lambda length: trials.at(
        state.x + length * direction.x, state.slack + length * direction.slack, length
    )
    first = fraction_of(longest)

    def correct() -> _Attempt:
        offset = longest * (at.g + state.slack) + first.g + state.slack + longest * direction.slack
        offset = jnp.concatenate([offset, jnp.zeros_like(direction.rows[offset.size :])])
        other = factors.corrected(longest * at.h + first.h, offset, state.dual)
        length = _longest(constants, state, other)
        # Judged like the step that it corrects.
        return _either(first, trials.at(state.x + length * other.x, state.slack + length * other.slack, longest))

    def shorten(carry: tuple[_Attempt, Array]) -> tuple[_Attempt, Array]:
        length = longest * 0.5 ** jnp.asarray(_HALVINGS, state.x.dtype)[carry[1]]
        return _either(carry[0], fraction_of(length)), carry[1] + 1

    rejected = lambda trial: ~(trial.accepted | (state.finishing > 0))
    has_constraints = at.g.size + at.h.size > 0
    found = where_needed(rejected(first), correct, first) if has_constraints else first
    going = lambda carry: rejected(carry[0]) & (carry[1] < len(_HALVINGS))
    found, _ = jax.lax.while_loop(going, shorten, (found, jnp.asarray(0)))
    violated = jnp.concatenate([jnp.maximum(found.g, 0.0), jnp.abs(found.h)])
    pick = lambda new, old: jnp.where(found.accepted, new, old)
    return Trial(
        pick(found.x, state.x),
        pick(found.slack, state.slack),
        pick(found.length, jnp.zeros_like(longest)),
        jnp.where(state.restoring | (state.finishing > 0), state.penalty, penalty),
        pick(jnp.max(violated, initial=0.0), at.violation),
        found.accepted,
        found.any_finite,
    )


def _either(old: _Attempt, new: _Attempt) -> _Attempt:
    """The new trial, remembering whether any was finite."""
    return eqx.tree_at(lambda attempt: attempt.any_finite, new, old.any_finite | new.any_finite)


def _longest(constants: Constants, state: State, direction: Direction) -> Scalar:
    """The longest primal step that stays strictly inside bounds and slacks."""
    t = distances(constants, state.x, state.slack)
    is_slack = jnp.arange(t.size) < state.slack.size
    relevant = constants.exists & ~(is_slack & state.restoring)
    return jnp.where(state.finishing > 0, 1.0, largest_step(t, direction.rows, fraction(state.mu), relevant))


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
