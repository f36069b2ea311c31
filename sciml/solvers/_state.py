"""What an interior-point iterate consists of, and the distances that its barrier keeps positive."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from ..core import RESULTS
from ._evaluate import Scaling

Vector = Float[Array, " n"]
Rows = Float[Array, " m"]
"""One entry for each inequality, each lower and each upper bound, in this order: `m = g + 2n`."""


class Constants(eqx.Module):
    """Bounds, and which of them exist."""

    lower: Vector
    upper: Vector
    exists: Bool[Array, " m"]
    """Rows that the barrier sees: all inequalities, and the finite bounds of entries that are not fixed."""
    is_fixed: Bool[Array, " n"]
    contradictory: Bool[Array, ""]


class State(eqx.Module):
    """One iterate in the scaled program, and the memory of the strategy."""

    x: Vector
    slack: Float[Array, " g"]
    dual: Rows
    """Multipliers of inequalities, lower and upper bounds; zero in rows that do not exist."""
    eq: Float[Array, " h"]
    scaling: Scaling
    mu: Scalar
    penalty: Scalar
    shift: Scalar
    """The last Hessian shift that was needed."""
    floor: Scalar
    """A Hessian shift imposed after failed line searches, as a trust region would shrink."""
    failures: Int[Array, ""]
    restoring: Bool[Array, ""]
    target: Scalar
    """The violation at which a restoration ends."""
    decay: Scalar
    """Factor on the restoration's barrier, smaller with each of its steps."""
    age: Int[Array, ""]
    """Passes since the violation was last compared with `checkpoint`."""
    checkpoint: Scalar
    """The violation then."""
    restorations: Int[Array, ""]
    length: Scalar
    """Of the last step."""
    best: Scalar
    """The smallest residual so far."""
    stale: Int[Array, ""]
    """Passes since then."""
    finishing: Int[Array, ""]
    """How many of the last steps, in a row, solved the equations of the active set."""
    saved: tuple[Vector, Float[Array, " g"], Rows, Float[Array, " h"]]
    """Decision, slacks and multipliers before the first of these steps."""
    finished_at: Scalar
    """The barrier parameter when they were last tried."""
    residual: Scalar
    stopped: Bool[Array, ""]
    result: RESULTS


def distances(constants: Constants, x: Vector, slack: Float[Array, " g"]) -> Rows:
    """`[s; x - lower; upper - x]`, at least a rounding error; 1 in rows that do not exist."""
    eps = jnp.finfo(x.dtype).eps
    gaps = jnp.concatenate([x - constants.lower, constants.upper - x])
    size = jnp.maximum(1.0, jnp.abs(jnp.concatenate([x, x])))
    every = jnp.concatenate([slack, jnp.maximum(gaps, 0.1 * eps * size)])
    return jnp.where(constants.exists, every, 1.0)


def excess(constants: Constants, x: Vector, g: Float[Array, " g"]) -> Rows:
    """`a = [g; lower - x; x - upper]`; -1 in rows that do not exist."""
    every = jnp.concatenate([g, constants.lower - x, x - constants.upper])
    return jnp.where(constants.exists, every, -1.0)


def fraction(mu: Scalar) -> Scalar:
    """`τ = max(0.99, 1 - μ)`: how much of the way to the boundary a step may go (Wächter & Biegler 2006, eq. 8)."""
    return jnp.maximum(0.99, 1.0 - mu)


def largest_step(old: Array, step: Array, tau: Scalar, relevant: Bool[Array, " m"]) -> Scalar:
    """The largest `α <= 1` with `old + α step >= (1 - τ) old` in the relevant entries."""
    shrinking = relevant & (step < 0)
    ratio = jnp.where(shrinking, -tau * old / jnp.where(shrinking, step, 1.0), 1.0)
    return jnp.minimum(1.0, jnp.min(ratio, initial=1.0))
