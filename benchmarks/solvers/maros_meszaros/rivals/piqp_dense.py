"""PIQP's dense solver; set-up included."""

import numpy as np
import piqp
import problem


def _action(data):
    arrays, came = problem.split(data)
    quadratic, equalities, rows = (np.asfortranarray(arrays[name]) for name in ("Q", "A", "G"))
    below = np.full(len(arrays["h"]), -np.inf)

    def action():
        solver = piqp.DenseSolver()
        settings = solver.settings
        settings.eps_abs, settings.eps_rel = problem.TOLERANCE, 0.0
        settings.check_duality_gap = True
        settings.eps_duality_gap_abs, settings.eps_duality_gap_rel = problem.TOLERANCE, 0.0
        bounds = (arrays["lower"], arrays["upper"])
        solver.setup(quadratic, arrays["q"], equalities, arrays["b"], rows, below, arrays["h"], *bounds)
        solver.solve()
        found = solver.result
        duals = (found.y, found.z_u - found.z_l, found.z_bl, found.z_bu)
        return {"x": found.x, "y": problem.join(data, came, *duals), "steps": np.asarray(found.info.iter)}

    return action


def prepare(data):
    """One action for each problem."""
    return {name: _action(one) for name, one in problem.problems(data).items()}, {}
