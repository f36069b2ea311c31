"""ProxQP's dense solver with box constraints and its duality gap checked; set-up included."""

import numpy as np
import problem
from proxsuite import proxqp


def _action(data):
    arrays, came = problem.split(data)
    n, equalities, inequalities = len(arrays["q"]), len(arrays["b"]), len(arrays["h"])
    below = np.full(inequalities, -np.inf)
    rows = [arrays[name] for name in ("Q", "q", "A", "b", "G")]

    def action():
        qp = proxqp.dense.QP(n, equalities, inequalities, True)
        qp.settings.eps_abs, qp.settings.eps_rel = problem.TOLERANCE, 0.0
        qp.settings.check_duality_gap = True
        qp.settings.eps_duality_gap_abs, qp.settings.eps_duality_gap_rel = problem.TOLERANCE, 0.0
        qp.init(*rows, below, arrays["h"], arrays["lower"], arrays["upper"])
        qp.solve()
        box = qp.results.z[inequalities:]
        duals = (qp.results.y, qp.results.z[:inequalities], np.maximum(-box, 0.0), np.maximum(box, 0.0))
        return {"x": qp.results.x, "y": problem.join(data, came, *duals), "steps": np.asarray(qp.results.info.iter)}

    return action


def prepare(data):
    """One action for each problem."""
    return {name: _action(one) for name, one in problem.problems(data).items()}, {}
