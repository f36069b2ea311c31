"""A batch of quadratic programs with this library: one program, written for one instance, solved under `vmap`."""

import equinox as eqx
import jax.numpy as jnp

from harness.quadratic import batches
from sciml.programs import QuadraticProgram
from sciml.solvers import solve


def actions(data, solver, *, derivatives=batches.DERIVATIVES):
    """Forward, and the `derivatives` by name. Arrays that all instances share are arrays of the program."""
    shared, batched = batches.split(data)
    from_instance = {name: (lambda p, name=name: p[name]) for name in batched}
    # Full, by the way in which every question draws its equalities; a matrix that is shared tells its own rank.
    rank = data["A"].shape[-2] if "A" in batched else None
    program = QuadraticProgram(**shared, **from_instance, rank=rank)
    arrays, static = eqx.partition(program, eqx.is_array)  # arrays enter compiled code as arguments
    z0 = jnp.zeros(data["q"].shape[-1], data["q"].dtype)

    def one(arrays, p):
        return solve(eqx.combine(arrays, static), solver, z0, p, throw=False)

    def solution(arrays, p):
        found = one(arrays, p)
        return {"z": found.value, "eq": found.duals.eq, "ineq": found.duals.ineq, "steps": found.stats.steps}

    done, seconds = batches.forward(solution, arrays, batched)
    if derivatives:
        value = lambda arrays, p: one(arrays, p).value
        more, more_seconds = batches.backward(value, arrays, batched, data["weight"], derivatives)
        done, seconds = {**done, **more}, {**seconds, **more_seconds}
    return done, seconds
