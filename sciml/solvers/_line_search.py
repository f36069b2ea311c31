"""A step length from a short ladder, judged by an exact-penalty merit function, all trials evaluated at once."""

from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..programs import FlatProgram
from ._evaluate import Evaluation, values
from ._newton import Direction, fraction, largest_step, restoration_barrier

if TYPE_CHECKING:
    from ._interior_point import Constants, State

_HALVINGS = 10
_ARMIJO = 1e-4


class Trial(eqx.Module):
    """The chosen trial point, or the old one where none was good enough."""

    x: Float[Array, " n"]
    slack: Float[Array, " g"]
    length: Scalar
    penalty: Scalar
    violation: Scalar
    accepted: Bool[Array, ""]
    any_finite: Bool[Array, ""]


def search(
    program: FlatProgram, constants: "Constants", state: "State", at: Evaluation, direction: Direction, p: Any
) -> Trial:
    """The longest step of the ladder that decreases the merit function enough.

    Normally `φ = f - μ Σ log(s) - μ Σ log(distance) + π (‖h‖₁ + ‖g + s‖₁)`; while restoring, the violation
    `½‖h‖² + ½‖g₊‖²` with a small barrier. The ladder holds `1, ½, ¼, ...` of the way to the boundary, and a second-order
    correction of the longest step (Nocedal & Wright 2006, section 18.11), which avoids the Maratos effect.
    """
    penalty, slope = _penalty_and_slope(state, at, direction)
    barrier = jnp.where(state.restoring, restoration_barrier(state, at), state.mu)
    score = lambda x, s, f, g, h: _merit(constants, state, x, s, f, g, h, penalty, barrier)
    start = score(state.x, state.slack, at.f, at.g, at.h)

    longest = _longest(constants, state, direction)
    lengths = longest * 0.5 ** jnp.arange(_HALVINGS, dtype=state.x.dtype)
    xs = state.x + lengths[:, None] * direction.x
    slacks = state.slack + lengths[:, None] * direction.slack
    point = lambda x: values(program, x, state.scaling, p)
    fs, gs, hs = jax.vmap(point)(xs)

    corrected = direction.resolve(longest * at.h + hs[0], longest * (at.g + state.slack) + gs[0] + slacks[0])
    length = _longest(constants, state, corrected)
    x, slack = state.x + length * corrected.x, state.slack + length * corrected.slack
    f, g, h = point(x)

    insert = lambda many, one: jnp.concatenate([many[:1], one[None], many[1:]])
    xs, slacks, fs, gs, hs = (insert(*pair) for pair in ((xs, x), (slacks, slack), (fs, f), (gs, g), (hs, h)))
    lengths = insert(lengths, longest)
    # A slack below -g only adds violation: raising it to -g lowers both the barrier and the penalty term.
    slacks = jnp.maximum(slacks, -gs)
    scores = jax.vmap(score)(xs, slacks, fs, gs, hs)
    noise = 10 * jnp.finfo(state.x.dtype).eps * jnp.abs(start)
    good = jnp.isfinite(scores) & (scores <= start + _ARMIJO * lengths * slope + noise)
    choice, accepted = jnp.argmax(good), jnp.any(good)
    pick = lambda many, one: jnp.where(accepted, many[choice], one)
    # While restoring the slacks follow the constraints.
    slack = jnp.where(state.restoring, jnp.maximum(-gs[choice], state.mu), slacks[choice])
    violations = jnp.max(jnp.concatenate([jnp.maximum(gs, 0.0), jnp.abs(hs)], axis=1), axis=1, initial=0.0)
    return Trial(
        pick(xs, state.x),
        jnp.where(accepted, slack, state.slack),
        pick(lengths, jnp.zeros_like(longest)),
        jnp.where(state.restoring, state.penalty, penalty),
        pick(violations, at.violation),
        accepted,
        jnp.any(jnp.isfinite(scores)),
    )


def _longest(constants: "Constants", state: "State", direction: Direction) -> Scalar:
    """The longest primal step that stays strictly inside bounds and slacks."""
    tau = fraction(state)
    low = largest_step(state.x - constants.lower, direction.x, tau, constants.has_lower & ~constants.is_fixed)
    high = largest_step(constants.upper - state.x, -direction.x, tau, constants.has_upper & ~constants.is_fixed)
    slack = largest_step(state.slack, direction.slack, tau, ~state.restoring)
    return jnp.minimum(jnp.minimum(low, high), slack)


def _penalty_and_slope(state: "State", at: Evaluation, direction: Direction) -> tuple[Scalar, Scalar]:
    """The penalty weight that makes the step a descent direction of the merit function, and the slope along it.

    `π >= (∇φ_μᵀd + ½ dᵀHd) / ((1 - ρ) decrease of ‖c‖₁)`: Waltz et al. (2006), equation (3.5), with ρ = 0.1.
    """
    system = direction.system
    offset = at.g + state.slack
    barrier_slope = system.gradient @ direction.x - jnp.sum(state.mu / state.slack * direction.slack)
    curvature = direction.x @ (system.matrix @ direction.x) - jnp.sum(system.sigma * (system.jacobian_g @ direction.x) ** 2)
    curvature = curvature + jnp.sum(system.sigma * direction.slack**2)
    before = jnp.sum(jnp.abs(at.h)) + jnp.sum(jnp.abs(offset))
    after = jnp.sum(jnp.abs(at.h + at.jacobian_h @ direction.x)) + jnp.sum(
        jnp.abs(offset + at.jacobian_g @ direction.x + direction.slack)
    )
    decrease = before - after
    tiny = jnp.finfo(state.x.dtype).tiny ** 0.5
    wanted = (barrier_slope + 0.5 * jnp.maximum(curvature, 0.0)) / jnp.maximum(0.9 * decrease, tiny)
    enough = (decrease <= tiny) | (state.penalty >= wanted)
    penalty = jnp.where(enough, state.penalty, jnp.minimum(1.5 * wanted + 1.0, 1e12))
    slope = jnp.minimum(barrier_slope - penalty * decrease, 0.0)
    restoring = jnp.minimum(system.gradient @ direction.x, 0.0)
    return penalty, jnp.where(state.restoring, restoring, slope)


def _merit(
    constants: "Constants", state: "State", x: Array, slack: Array, f: Scalar, g: Array, h: Array,
    penalty: Scalar, barrier: Scalar,
) -> Scalar:  # fmt: skip
    """The merit function of the mode that the iterate is in."""
    log_bounds = _log_sum(x - constants.lower, constants.has_lower & ~constants.is_fixed) + _log_sum(
        constants.upper - x, constants.has_upper & ~constants.is_fixed
    )
    infeasibility = jnp.sum(jnp.abs(h)) + jnp.sum(jnp.abs(g + slack))
    normal = f - barrier * (jnp.sum(jnp.log(slack)) + log_bounds) + penalty * infeasibility
    repair = 0.5 * jnp.sum(h**2) + 0.5 * jnp.sum(jnp.maximum(g, 0.0) ** 2) - barrier * log_bounds
    return jnp.where(state.restoring, repair, normal)


def _log_sum(distance: Array, relevant: Array) -> Scalar:
    return jnp.sum(jnp.where(relevant, jnp.log(jnp.where(relevant, distance, 1.0)), 0.0))
