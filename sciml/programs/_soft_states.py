"""Bounds on the states of an optimal-control problem as path limits, so that they can be given a price."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ..core import invalid
from ._optimal_control import OptimalControl


class StageLimits(eqx.Module):
    """Path limits, and bounds on the state that a stage leads to, all `<= 0`; an empty tuple where there is none."""

    path: Any
    x_lower: Any
    x_upper: Any


def state_bounds_as_limits(problem: OptimalControl) -> OptimalControl:
    """The same problem with its bounds on states among the path limits, as `StageLimits`.

    Solutions are the same. As path limits the bounds can be softened by `elastic`, where a disturbance may push the
    state beyond them. Each bounds the state *after* its stage, the states 1 ... N, as bounds do. Infinite entries of
    bounds that are known (not functions of `p`, not traced) make no limit.

    Args:
        problem: the problem; one without bounds on states is returned as it is.

    Raises:
        ValueError: bounds that are no prefix of the state, when the problem is evaluated.

    Examples:
        ```python
        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: 0.9 * x + u,
            stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
            initial=lambda p: p,
            horizon=5,
            x_lower=-1.0,
        )
        limited = sciml.programs.state_bounds_as_limits(problem)
        program = sciml.programs.elastic(sciml.programs.transcribe(limited), ineq=(100.0, None))
        start = program.start(sciml.programs.guess(problem, jnp.zeros((5, 1)), jnp.array([-3.0])), jnp.array([-3.0]))
        plan = sciml.solve(program, sciml.solvers.InteriorPoint(), start, jnp.array([-3.0]))
        assert plan.value.z.x.shape == (5, 1)
        ```
    """
    if problem.x_lower is None and problem.x_upper is None:
        return problem
    lower, upper = (_Bound(bound, sign) for bound, sign in ((problem.x_lower, -1.0), (problem.x_upper, 1.0)))
    return replace(
        problem,
        dynamics=_WithoutTime(problem.dynamics),
        stage=_WithoutTime(problem.stage),
        path=_WithBounds(problem, lower, upper),
        exogenous=_WithTime(problem.exogenous, problem.horizon),
        x_lower=None,
        x_upper=None,
    )


class _WithTime(eqx.Module):
    """The signals of a problem beside the number of each stage, by which bounds that vary over time are found."""

    exogenous: Any
    horizon: int = eqx.field(static=True)

    def __call__(self, p: Any) -> Any:
        return (None if self.exogenous is None else self.exogenous(p)), jnp.arange(self.horizon)


class _WithoutTime(eqx.Module):
    function: Any

    def __call__(self, x: Any, u: Any, w: Any, p: Any) -> Any:
        return self.function(x, u, w[0], p)


class _Bound(eqx.Module):
    """A bound on one state, or on each state of the horizon, with the entries of each leaf that are bounded."""

    bound: Any
    sign: float = eqx.field(static=True)
    bounded: Any = eqx.field(static=True)

    def __init__(self, bound: Any, sign: float):
        self.bound, self.sign = bound, sign
        known = [] if callable(bound) else jtu.tree_leaves(bound)
        self.bounded = tuple(_bounded(leaf) for leaf in known)

    def excess(self, x: Any, k: Array, p: Any) -> Any:
        """`sign (x - bound)` of the entries that are bounded."""
        bound = self.bound(p) if callable(self.bound) else self.bound
        if bound is None:
            return ()
        which = iter(self.bounded)

        def each(one: Any, part: Any) -> Any:
            if one is None:
                return ()
            entries = next(which, None)
            return jtu.tree_map(lambda v: self._leaf(jnp.asarray(one).astype(v.dtype), v, k, entries), part)

        try:
            return jtu.tree_map(each, bound, x, is_leaf=lambda one: one is None)
        except (ValueError, TypeError) as error:
            got, expected = f"bounds {jtu.tree_structure(bound)}", f"the state's {jtu.tree_structure(x)}, or a prefix"
            fix = "give one array for the state, or one number for all of it"
            raise invalid("x_lower" if self.sign < 0 else "x_upper", got, expected, fix) from error

    def _leaf(self, bound: Array, x: Array, k: Array, entries: tuple[int, ...] | None) -> Array:
        if bound.ndim > x.ndim:  # one bound for each stage
            bound = bound[k]
        finite = jnp.isfinite(bound)
        excess = jnp.where(finite, self.sign * (x - jnp.where(finite, bound, 0.0)), -1.0)
        return excess if entries is None else excess[..., np.asarray(entries, int)]


def _bounded(leaf: Any) -> tuple[int, ...] | None:
    """Indices along the last axis with a finite bound; None: all, or unknown."""
    if isinstance(leaf, Tracer) or np.ndim(leaf) == 0:
        return None
    finite = np.isfinite(np.asarray(leaf)).reshape(-1, np.shape(leaf)[-1]).any(axis=0)
    return None if finite.all() else tuple(int(i) for i in np.flatnonzero(finite))


class _WithBounds(eqx.Module):
    """The path limits, and the excess of the next state over its bounds."""

    problem: OptimalControl
    lower: _Bound
    upper: _Bound

    def __call__(self, x: Any, u: Any, w: Any, p: Any) -> StageLimits:
        problem, (w, k) = self.problem, w
        after = problem.dynamics(x, u, w, p)
        path = () if problem.path is None else problem.path(x, u, w, p)
        return StageLimits(path, self.lower.excess(after, k, p), self.upper.excess(after, k, p))
