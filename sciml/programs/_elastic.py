"""Programs whose constraints may be violated at a price, so that a solution always exists."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Scalar

from ..core import invalid, tree_size
from ._program import AbstractProgram, constraints, cost, spread
from ._quadratic import Quadratic
from ._stages import by_stage, Staged
from ._vectors import vector


class Elastic(eqx.Module):
    """The decision of an elastic program: the original decision `z`, and slacks `>= 0` of the softened constraints."""

    z: Any
    ineq: Any
    """Slack of `g - slack <= 0`, in the structure of `ineq`; None in the place of what stayed hard."""
    above: Any
    """Slacks of `h - above + below = 0`, in the structure of `eq`."""
    below: Any


class ElasticProgram(AbstractProgram):
    """The program over the decision `Elastic` that the function `elastic` returns."""

    program: AbstractProgram
    ineq_weight: Any
    eq_weight: Any
    curvature: Any

    def __init__(self, program: AbstractProgram, ineq_weight: Any, eq_weight: Any, curvature: Any):
        self.program, self.ineq_weight, self.eq_weight, self.curvature = program, ineq_weight, eq_weight, curvature

    def start(self, z0: Any, p: Any = None) -> Elastic:
        """A start at `z0`, with slacks that make it feasible, apart from its bounds."""
        g, h = constraints(self.program, jtu.tree_map(jnp.asarray, z0), p)
        part = lambda sign: lambda v: jnp.maximum(sign * v, 0.0)
        ineq_weight, eq_weight = _at(self.ineq_weight, p), _at(self.eq_weight, p)
        above, below = (_where_soft(part(sign), "eq", eq_weight, h) for sign in (1.0, -1.0))
        return Elastic(z0, _where_soft(part(1.0), "ineq", ineq_weight, g), above, below)

    @property
    def objective(self) -> Callable[[Any, Any], Any]:
        """The original objective plus the price of all slacks."""
        return self._cost

    @property
    def ineq(self) -> Callable[[Any, Any], Any] | None:
        """The inequalities minus their slacks."""
        return None if self.program.ineq is None else self._excess

    @property
    def eq(self) -> Callable[[Any, Any], Any] | None:
        """The equalities, relaxed by their slacks."""
        return None if self.program.eq is None else self._defect

    @property
    def lower(self) -> Callable[[Any], Elastic]:
        """The lower bounds: those of the original program, and zero for the slacks."""
        return lambda p: Elastic(_at(self.program.lower, p), 0.0, 0.0, 0.0)

    @property
    def upper(self) -> Callable[[Any], Elastic]:
        """The upper bounds: those of the original program, and none for the slacks."""
        return lambda p: Elastic(_at(self.program.upper, p), None, None, None)

    @property
    def structure(self) -> Callable[[Any, Any, Any], Staged] | None:
        """The stages of the original program, with slacks of path limits as further inputs of their stage."""
        return None if self.program.structure is None else self._stages

    @property
    def matrices(self) -> Callable[[Any, Any], Quadratic] | None:
        """The matrices of a quadratic program, with a column for each slack; None for other programs."""
        return None if self.program.matrices is None else self._extended

    def _cost(self, d: Elastic, p: Any) -> Scalar:
        total = cost(self.program, d.z, p)
        curvature = jnp.asarray(_at(self.curvature, p)).astype(total.dtype)
        for weight, slack in self._priced(d, p):
            total = total + jnp.sum(weight * slack) + 0.5 * curvature * jnp.sum(slack**2)
        return total

    def _excess(self, d: Elastic, p: Any) -> Any:
        g, _ = constraints(self.program, d.z, p)
        less = lambda part, slack: jtu.tree_map(lambda v, s: v - s, part, slack)
        return _combine(less, _at(self.ineq_weight, p), g, d.ineq)

    def _defect(self, d: Elastic, p: Any) -> Any:
        _, h = constraints(self.program, d.z, p)
        joined = lambda part, up, down: jtu.tree_map(lambda v, a, b: v - a + b, part, up, down)
        return _combine(joined, _at(self.eq_weight, p), h, d.above, d.below)

    def _priced(self, d: Elastic, p: Any) -> list[tuple[Array, Array]]:
        """Every leaf of slacks with its weights."""
        blocks = ((self.ineq_weight, d.ineq, "ineq"), (self.eq_weight, d.above, "eq"), (self.eq_weight, d.below, "eq"))
        pairs = []
        for weight, slack, name in blocks:
            full = spread(_at(weight, p), slack, 0.0, name)
            pairs += list(zip(jtu.tree_leaves(full), jtu.tree_leaves(slack), strict=True))
        return pairs

    def _stages(self, d: Elastic, g: Any, h: Any) -> Staged:
        assert self.program.structure is not None
        hard = self.program.structure(d.z, g, h)
        stages, nu = hard.stages, hard.stages.nu
        path = d.ineq[0] if isinstance(d.ineq, tuple) else d.ineq
        if tree_size((d.above, d.below)) or tree_size(d.ineq) != tree_size(path):
            fix = "soften path limits alone with `ineq=(weight, None)` and `eq=None`; price the rest in `terminal`"
            raise invalid("ineq, eq", "soft equalities or terminal limits", "soft path limits in optimal control", fix)
        sizes = tuple(leaf.size // stages.horizon for leaf in jtu.tree_leaves(path))
        mark = lambda slack, part: jtu.tree_map(lambda _: slack is not None, part)
        is_soft = jtu.tree_leaves(jtu.tree_map(mark, path, g[0], is_leaf=lambda slack: slack is None))
        soft = np.flatnonzero(np.repeat(is_soft, stages.path_sizes))

        def stage(x: Array, u: Array, w: Any, p: Any) -> tuple[Scalar, Array, Array]:
            (w, weight), slack = w, u[nu:]
            cost, limits, after = hard.stage(x, u[:nu], w, p)
            curvature = jnp.asarray(_at(self.curvature, p)).astype(cost.dtype)
            cost = cost + weight @ slack + 0.5 * curvature * jnp.sum(slack**2)
            return cost, limits.at[soft].add(-slack), after

        def given(p: Any) -> tuple[Array, Any]:
            x0, w = hard.given(p)
            weights = vector([weight for weight, _ in self._priced(d, p)], x0.dtype)
            return x0, (w, by_stage(weights, stages.horizon, sizes))

        arguments = lambda x, u, w: hard.arguments(x, u[:nu], w[0])
        stages = replace(stages, u_sizes=stages.u_sizes + sizes)
        return Staged(stages, stage, hard.terminal, given, arguments, hard.state)

    def _extended(self, d: Elastic, p: Any) -> Quadratic:
        """`[z, slack, above, below]` with `G z - slack <= h` and `A z - above + below = b`."""
        assert self.program.matrices is not None
        data = self.program.matrices(d.z, p)
        dtype, g, m = data.q.dtype, tree_size(d.ineq), tree_size(d.above)
        weights = [jnp.ravel(weight).astype(dtype) for weight, _ in self._priced(d, p)]
        curvature = jnp.full((g + 2 * m,), _at(self.curvature, p)).astype(dtype)
        beside = lambda block, *others: jnp.concatenate([block, *others], axis=1)
        zero = lambda block, columns: jnp.zeros((block.shape[0], columns), dtype)
        one = lambda size: jnp.eye(size, dtype=dtype)
        G = beside(data.G, -one(g), zero(data.G, 2 * m)) if g else beside(data.G, zero(data.G, 2 * m))
        A = beside(data.A, zero(data.A, g), -one(m), one(m)) if m else beside(data.A, zero(data.A, g))
        Q = jax.scipy.linalg.block_diag(data.Q, jnp.diag(curvature))
        rank = data.A.shape[0] if m else data.rank  # with slacks, rows of equalities never depend on each other
        return Quadratic(Q, jnp.concatenate([data.q, *weights]), A, data.b, G, data.h, rank)


def elastic(program: AbstractProgram, *, ineq: Any = None, eq: Any = None, curvature: Any = 0.0) -> ElasticProgram:
    """A program with constraints that may be violated at the price `weight · slack + ½ curvature · slack²`.

    Choose it where data may contradict each other. The elastic program always has a feasible point: instead of failing,
    an infeasible instance gets the decision with the cheapest violation, which is differentiable. If the weights exceed
    the multipliers, feasible instances keep their solution (an exact penalty). Solve it from `start(z0, p)` with any
    solver. A `QuadraticProgram` stays one, and soft path limits keep the stages of optimal control. Bounds stay hard.

        soft = elastic(program, ineq=100.0)
        solution = solve(soft, InteriorPoint(), soft.start(z0, p), p)
        solution.value.z, solution.value.ineq      # the decision, and its violations

    Args:
        program: the program.
        ineq, eq: price of one unit of violation: a positive number, a pytree shaped like what `ineq` or `eq` returns
            or a prefix of it, or a function of `p` that returns one; None keeps constraints hard.
        curvature: coefficient of the quadratic price; smooths decisions where constraints begin to be violated.

    Raises:
        ValueError: if nothing is softened, or the program lacks the softened constraint. When solved, if the dynamics
            or terminal limits of an optimal-control problem are softened.

    Gradient: by the solver's `adjoint`, with respect to weights as well (as functions of `p`).

    Source: Nocedal & Wright (2006), Numerical Optimization, equation 18.53 and section 17.2; Han & Mangasarian (1979),
    Exact penalty functions in nonlinear programming, DOI 10.1007/BF01588250.
    """
    if ineq is None and eq is None:
        raise invalid("ineq, eq", "neither", "a weight for at least one", "give the price of a unit of violation")
    for name, weight, function in (("ineq", ineq, program.ineq), ("eq", eq, program.eq)):
        if weight is not None and function is None:
            raise invalid(name, "a weight", "None: the program has no such constraint", "leave the weight out")
        leaves = [] if callable(weight) else jtu.tree_leaves(weight)
        if not all(isinstance(leaf, Tracer) or np.all(np.asarray(leaf) > 0) for leaf in leaves):
            raise invalid(
                name, f"{weight}", "positive weights", "give a positive price, or None to keep the constraint hard"
            )
    return ElasticProgram(program, ineq, eq, curvature)


def _where_soft(make: Callable, argument: str, weight: Any, tree: Any) -> Any:
    """`make` of every leaf that has a weight, None for parts that have none."""
    each = lambda w, part: None if w is None else jtu.tree_map(make, part)
    try:
        return jtu.tree_map(each, weight, tree, is_leaf=lambda w: w is None)
    except (ValueError, TypeError) as error:
        want = f"the structure {jtu.tree_structure(tree)} of the constraint, or a prefix of it"
        raise invalid(
            argument, f"weights {jtu.tree_structure(weight)}", want, "give one number for all constraints"
        ) from error


def _combine(join: Callable, weight: Any, tree: Any, *slacks: Any) -> Any:
    """`join` of a part of the constraints with its slacks; parts without a weight as they are."""
    each = lambda w, part, *more: part if w is None else join(part, *more)
    return jtu.tree_map(each, weight, tree, *slacks, is_leaf=lambda w: w is None)


def _at(entry: Any, p: Any) -> Any:
    return entry(p) if callable(entry) else entry
