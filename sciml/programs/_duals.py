"""Multipliers, KKT residuals and violations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Scalar

from ..core import ravel
from ._program import AbstractProgram, bounds, constraints, cost


class Duals(eqx.Module):
    """The multipliers of a solution, of the Lagrangian `L = f + λᵀg + νᵀh - ζ_lᵀ(z - lower) + ζ_uᵀ(z - upper)`."""

    ineq: Any
    """`λ >= 0`, in the structure that `ineq` returns (an empty tuple where there is none)."""
    eq: Any
    """`ν`, in the structure that `eq` returns (an empty tuple where there is none)."""
    lower: Any
    """`ζ_l >= 0`, in the structure of the decision."""
    upper: Any
    """`ζ_u >= 0`, in the structure of the decision."""


class Residual(eqx.Module):
    """The unscaled KKT residual: the largest entry of each of its four parts, in absolute value."""

    stationarity: Scalar
    """`‖∇f + Jgᵀλ + Jhᵀν - ζ_l + ζ_u‖`, in units of the objective per unit of the decision."""
    feasibility: Scalar
    """The largest violation of an inequality, equality or bound, in the constraint's own unit."""
    complementarity: Scalar
    """The largest `|λ g|` and `|ζ (z - bound)|`, in units of the objective."""
    dual_sign: Scalar
    """The largest negative part of a multiplier of an inequality or a bound."""

    @property
    def largest(self) -> Float[Array, "*batch"]:
        """The largest of the four parts, for each instance."""
        return jnp.max(jnp.stack([self.stationarity, self.feasibility, self.complementarity, self.dual_sign]), axis=0)


def lagrangian(program: AbstractProgram, z: Any, duals: Duals, p: Any) -> Scalar:
    """The Lagrangian `f + λᵀg + νᵀh`, without the linear terms of the bounds."""
    g, h = constraints(program, z, p)
    return cost(program, z, p) + _dot(duals.ineq, g) + _dot(duals.eq, h)


def kkt_residual(program: AbstractProgram, z: Any, duals: Duals, p: Any) -> Residual:
    """The unscaled residual of the first-order optimality (KKT) conditions at `(z, duals)`.

    Args:
        program: the program.
        z: a decision.
        duals: multipliers, as in `Solution.duals`.
        p: the instance.

    Source: Boyd & Vandenberghe (2004), Convex Optimization, section 5.5.3.
    """
    (g, h), limits = constraints(program, z, p), bounds(program, z, p)
    slope = jax.grad(lambda q: lagrangian(program, q, duals, p))(z)
    flat = lambda tree: ravel(tree)[0]
    multipliers = (flat(duals.ineq), flat(duals.lower), flat(duals.upper))
    lower, upper = limits
    return flat_residual(flat(z), flat(slope), flat(g), flat(h), (flat(lower), flat(upper)), multipliers)


def flat_residual(
    x: Float[Array, " n"],
    slope: Float[Array, " n"],
    g: Float[Array, " g"],
    h: Float[Array, " h"],
    limits: tuple[Float[Array, " n"], Float[Array, " n"]],
    multipliers: tuple[Float[Array, " g"], Float[Array, " n"], Float[Array, " n"]],
) -> Residual:
    """The KKT residual over vectors.

    Args:
        x: the decision.
        slope: `∇f + Jgᵀλ + Jhᵀν`.
        g, h: values of the constraints.
        limits: lower and upper bounds.
        multipliers: those of inequalities, lower and upper bounds.
    """
    (lower, upper), (ineq, below, above) = limits, multipliers
    excess = jnp.concatenate([g, lower - x, x - upper])
    signed = jnp.concatenate([ineq, below, above])
    return Residual(
        stationarity=jnp.max(jnp.abs(slope - below + above), initial=0.0),
        feasibility=jnp.max(jnp.concatenate([excess, jnp.abs(h)]), initial=0.0),
        complementarity=jnp.max(jnp.abs(signed * jnp.where(jnp.isfinite(excess), excess, 0.0)), initial=0.0),
        dual_sign=jnp.max(-signed, initial=0.0),
    )


def bound_multipliers(
    x: Float[Array, " n"], slope: Float[Array, " n"], lower: Float[Array, " n"], upper: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Multipliers of the bounds that explain the slope `∇f + Jgᵀλ + Jhᵀν = ζ_l - ζ_u` best.

    A slope of `s` is a stationarity residual of `s` without the multiplier `s`, and a complementarity residual of
    `s · distance` with it: the smaller of the two decides.
    """
    # What is rounding has no sign: a compiler that computes it twice may get both, and mixed derivatives from them.
    size = jnp.maximum(1.0, jnp.max(jnp.abs(jax.lax.stop_gradient(slope)), initial=0.0))
    least = 10 * jnp.finfo(slope.dtype).eps * size
    below = jnp.where((slope > least) & (x - lower < 1.0), slope, 0.0)
    above = jnp.where((slope < -least) & (upper - x < 1.0), -slope, 0.0)
    return below, above


def violation(program: AbstractProgram, z: Any, p: Any) -> "Violation":
    """The violation of each constraint at `z`; zero where the constraint holds."""
    g, h = constraints(program, z, p)
    z = eqx.filter(z, eqx.is_inexact_array)  # a trajectory carries its result and counters too: they have no bounds
    low, high = bounds(program, z, p)
    positive = lambda tree: jtu.tree_map(lambda v: jnp.maximum(v, 0.0), tree)
    return Violation(
        ineq=positive(g),
        eq=jtu.tree_map(jnp.abs, h),
        lower=positive(jtu.tree_map(lambda a, b: a - b, low, z)),
        upper=positive(jtu.tree_map(lambda a, b: a - b, z, high)),
    )


class Violation(eqx.Module):
    """The violations of all constraints and bounds, `>= 0`, named like the constraints and the decision."""

    ineq: Any
    eq: Any
    lower: Any
    upper: Any

    @property
    def largest(self) -> Float[Array, "*batch"]:
        """The largest violation of any constraint or bound."""
        return _largest(*(jnp.asarray(v) for v in jtu.tree_leaves(self)))


def _dot(a: Any, b: Any) -> Scalar:
    terms = jtu.tree_map(lambda u, v: jnp.sum(u * v), a, b)
    return sum(jtu.tree_leaves(terms), start=jnp.zeros(()).astype(_dtype(b)))


def _dtype(tree: Any) -> Any:
    leaves = jtu.tree_leaves(tree)
    return jnp.result_type(leaves[0]) if leaves else jnp.zeros(()).dtype


def _largest(*arrays: Array) -> Scalar:
    sized = [jnp.max(jnp.abs(a)) for a in arrays if a.size]
    return jnp.max(jnp.stack(sized)) if sized else jnp.zeros(())
