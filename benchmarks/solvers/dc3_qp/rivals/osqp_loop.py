"""OSQP with one set-up, `update(l, u)` per instance and its polishing step, documented for high accuracy."""

import numpy as np
import osqp
import problem
from scipy import sparse


def prepare(data):
    """Forward only; for shared matrices."""
    lanes, equalities = len(data["b"]), data["A"].shape[-2]
    rows = sparse.csc_matrix(np.concatenate([data["A"], data["G"]]))
    upper = np.concatenate([data["b"], np.tile(data["h"], (lanes, 1))], axis=1)
    lower = np.concatenate([data["b"], np.full((lanes, len(data["h"])), -np.inf)], axis=1)
    solver = osqp.OSQP()
    tolerance = problem.TOLERANCE
    settings = {"eps_abs": tolerance, "eps_rel": 0.0, "polishing": True, "max_iter": 20_000, "verbose": False}
    solver.setup(sparse.csc_matrix(data["Q"]), data["q"][0], rows, lower[0], upper[0], warm_starting=False, **settings)

    def forward():
        z, dual = np.empty(data["q"].shape), np.empty(upper.shape)
        for i in range(lanes):
            solver.update(l=lower[i], u=upper[i])
            result = solver.solve()
            z[i], dual[i] = result.x, result.y
        return {"z": z, "eq": dual[:, :equalities], "ineq": dual[:, equalities:]}

    return {"forward": forward}, {}
