"""ProxQP's `BatchQP` of dense programs, set up in every timed call since every matrix belongs to its instance."""

import numpy as np
import problem
from proxsuite import proxqp


def prepare(data):
    """Forward."""
    batch, n = data["q"].shape
    equalities, inequalities = data["A"].shape[1], data["G"].shape[1]
    below = np.full(inequalities, -np.inf)

    def forward():
        programs = proxqp.dense.BatchQP(batch)
        for i in range(batch):
            one = programs.init_qp_in_place(n, equalities, inequalities)
            one.settings.eps_abs, one.settings.eps_rel = problem.TOLERANCE, 0.0
            one.settings.check_duality_gap = True  # without it, complementarity would be no part of its stopping test
            one.settings.eps_duality_gap_abs, one.settings.eps_duality_gap_rel = problem.TOLERANCE, 0.0
            one.init(*[data[name][i] for name in ("Q", "q", "A", "b", "G")], below, data["h"][i])
        proxqp.dense.solve_in_parallel(programs, 1)
        results = [programs.get(i).results for i in range(batch)]
        stacked = {name: np.stack([getattr(r, field) for r in results]) for name, field in (("z", "x"), ("eq", "y"))}
        return {**stacked, "ineq": np.stack([r.z for r in results])}

    return {"forward": forward}, {}
