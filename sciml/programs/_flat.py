"""Programs over vectors, as solvers see them, and the conversion to the user's structures."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core import ravel, tree_size
from ._duals import Duals
from ._program import AbstractProgram, bounds, constraints, cost
from ._quadratic import Quadratic
from ._stages import Staged
from ._vectors import as_it_is, unravel, vector

Vector = Float[Array, " n"]


class FlatProgram(eqx.Module):
    """A program as functions of one vector, for solvers; arrays that the user's functions capture are explicit."""

    functions: Callable[[Any, Any], tuple[Any, Any, Any]]
    """`(x, p) -> (f, g, h)`, a scalar and two vectors."""
    limits: Callable[[Any], tuple[Any, Any]]
    """`p -> (lower, upper)`, two vectors, infinite where there is no bound."""
    size: int = eqx.field(static=True)
    n_ineq: int = eqx.field(static=True)
    n_eq: int = eqx.field(static=True)
    structure: Staged | None = None
    """The functions of one stage, where the program is one of optimal control."""
    quadratic: Callable[[Any], Quadratic] | None = None
    """`p -> Quadratic` where the program is given by its matrices."""
    rank: int | None = eqx.field(static=True, default=None)
    """The rank of the equalities' Jacobian, where it is known beforehand."""
    is_bounded: bool = eqx.field(static=True, default=True)
    """Whether there is any bound on the decision at all."""
    decision: Callable[[Any], Any] = eqx.field(static=True, default=as_it_is)
    """The user's structure of a vector."""
    scan: eqx.Module | None = None
    """How recursions over the stages are run, where a solver has chosen; see `solvers.AbstractScan`."""


class Layout(eqx.Module):
    """The structures of decision and constraints, by which vectors are converted back."""

    decision: Callable[[Any], Any] = eqx.field(static=True)
    ineq: Callable[[Any], Any] = eqx.field(static=True)
    eq: Callable[[Any], Any] = eqx.field(static=True)


def flatten(program: AbstractProgram, z0: Any, p: Any) -> tuple[FlatProgram, Layout, Vector]:
    """The program over vectors, the user's structures, and `z0` as a vector.

    Raises:
        ValueError: if a function of the program returns a wrong shape; the message names it.
    """
    x0, decision = ravel(z0)
    quadratic, rank = None, None
    if program.matrices is not None:
        matrices, shapes = program.matrices, jtu.tree_map(jnp.zeros_like, z0)
        data = lambda p: matrices(shapes, p)
        rank = jax.eval_shape(data, p).rank
        quadratic = eqx.filter_closure_convert(data, p)
    f, g, h = _structures(program, z0, p)
    dtype = x0.dtype

    def functions(x: Any, p: Any) -> tuple[Any, Any, Any]:
        z = decision(x)
        g, h = constraints(program, z, p)
        return cost(program, z, p).astype(dtype), vector(g, dtype), vector(h, dtype)

    def limits(p: Any) -> tuple[Any, Any]:
        lower, upper = bounds(program, decision(x0), p)
        return vector(lower, dtype), vector(upper, dtype)

    flat = FlatProgram(
        eqx.filter_closure_convert(functions, x0, p),
        eqx.filter_closure_convert(limits, p),
        x0.size,
        tree_size(g),
        tree_size(h),
        None if program.structure is None else program.structure(z0, g, h).closed(p),
        quadratic,
        rank,
        program.lower is not None or program.upper is not None,
        decision,
    )
    return flat, Layout(decision, unravel(g), unravel(h)), x0


def unflatten_duals(
    layout: Layout, ineq: Float[Array, " g"], eq: Float[Array, " h"], lower: Vector, upper: Vector
) -> Duals:
    """The multipliers in the user's structures, from vectors."""
    return Duals(layout.ineq(ineq), layout.eq(eq), layout.decision(lower), layout.decision(upper))


def _structures(program: AbstractProgram, z0: Any, p: Any) -> tuple[Any, Any, Any]:
    """Shapes of what the three functions return, checked."""
    f = jax.eval_shape(lambda z, p: cost(program, z, p), z0, p)
    g, h = jax.eval_shape(lambda z, p: constraints(program, z, p), z0, p)
    return f, g, h
