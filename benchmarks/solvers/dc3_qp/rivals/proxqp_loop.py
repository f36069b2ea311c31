"""ProxQP's dense solver with a diagonal Hessian: one set-up and an `update(b)` per instance where matrices are shared.

Where they are not, every instance is a QP of its own, set up in the timed call. The start is its default one: instances
are unrelated, so the neighbour's solution is no warm start.
"""

import numpy as np
import problem
from proxsuite import proxqp


def _qp(n, equalities, inequalities):
    qp = proxqp.dense.QP(n, equalities, inequalities, hessian_type=proxqp.dense.HessianType.Diagonal)
    qp.settings.eps_abs, qp.settings.eps_rel = problem.TOLERANCE, 0.0
    qp.settings.check_duality_gap = True  # without it, complementarity would be no part of its stopping test
    qp.settings.eps_duality_gap_abs, qp.settings.eps_duality_gap_rel = problem.TOLERANCE, 0.0
    return qp


def prepare(data):
    """Forward only."""
    lanes, shared = len(data["b"]), data["Q"].ndim == 2
    n, equalities, inequalities = data["A"].shape[-1], data["A"].shape[-2], data["G"].shape[-2]
    names = ("Q", "q", "A", "b", "G")
    below = np.full(inequalities, -np.inf)
    qp = _qp(n, equalities, inequalities)
    if shared:
        qp.init(data["Q"], data["q"][0], data["A"], data["b"][0], data["G"], below, data["h"])

    def forward():
        found = {name: np.empty((lanes, size)) for name, size in (("z", n), ("eq", equalities), ("ineq", inequalities))}
        for i in range(lanes):
            if shared:
                one = qp
                one.update(b=data["b"][i])
            else:
                one = _qp(n, equalities, inequalities)
                one.init(*[data[name][i] for name in names], below, data["h"][i])
            one.solve()
            found["z"][i], found["eq"][i], found["ineq"][i] = one.results.x, one.results.y, one.results.z
        return found

    return {"forward": forward}, {}
