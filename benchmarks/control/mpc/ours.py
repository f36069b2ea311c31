"""`MPC` with `SQP`, each program solved to the tolerance."""

import ours_loops
import problem

from sciml.solvers import SQP


def prepare(case, data):
    """One closed loop, and all of them at once."""
    return ours_loops.actions(case, data, solver=SQP(tol=problem.TOLERANCE))
