"""A batch of quadratic programs with qpax, as it documents its batches: `jit(vmap(...))`."""

import qpax

from harness.quadratic import batches


def actions(data, backend, tolerance, *, derivatives=batches.DERIVATIVES):
    """Forward, and the `derivatives` by name."""
    shared, batched = batches.split(data)
    ordered = lambda shared, p: [{**shared, **p}[name] for name in batches.NAMES]

    def solution(shared, p):
        z, _, ineq, eq, _, steps = qpax.solve_qp(*ordered(shared, p), backend=backend, solver_tol=tolerance)
        return {"z": z, "eq": eq, "ineq": ineq, "steps": steps}

    def value(shared, p):
        return qpax.solve_qp_primal(*ordered(shared, p), backend=backend, solver_tol=tolerance)

    done, seconds = batches.forward(solution, shared, batched)
    if derivatives:
        more, more_seconds = batches.backward(value, shared, batched, data["weight"], derivatives)
        done, seconds = {**done, **more}, {**seconds, **more_seconds}
    return done, seconds
