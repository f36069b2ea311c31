"""This library: rows split into equalities, inequalities and bounds; compiled once for each problem's shape."""

import equinox as eqx
import jax
import jax.numpy as jnp
import problem
from harness.timing import compile_ahead

from sciml.programs import QuadraticProgram
from sciml.solvers import InteriorPointQP, solve


def _prepare(data):
    arrays, came = problem.split(data)
    present = {name: value for name, value in arrays.items() if value.size}
    program, static = eqx.partition(QuadraticProgram(**present), eqx.is_array)
    z0 = jnp.zeros(len(data["q"]))

    def solution(program):
        # The default tolerance: the duality gap adds up over the rows.
        found = solve(eqx.combine(program, static), InteriorPointQP(), z0, None, throw=False)
        duals = found.duals
        rows = {"eq": duals.eq, "ineq": duals.ineq, "lower": duals.lower, "upper": duals.upper}
        return {"x": found.value, "steps": found.stats.steps, **{k: v for k, v in rows.items() if v is not None}}

    run, seconds = compile_ahead(solution, program)

    def action():
        found = run()
        none = jnp.zeros(0)
        duals = [found.get("eq", none), found.get("ineq", none), found["lower"], found["upper"]]
        duals = [jax.tree.leaves(d)[0] if jax.tree.leaves(d) else none for d in duals]
        return {"x": found["x"], "y": problem.join(data, came, *duals), "steps": found["steps"]}

    return action, seconds


def prepare(data):
    """One action for each problem."""
    actions, seconds = {}, {}
    for name, one in problem.problems(data).items():
        actions[name], seconds[name] = _prepare(one)
    return actions, seconds
