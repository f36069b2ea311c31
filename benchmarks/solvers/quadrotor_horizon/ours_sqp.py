"""This library's sequential quadratic programming."""

import ours_solve
import problem

from sciml.solvers import SQP


def prepare(data):
    """Forward."""
    return ours_solve.actions(data, SQP(tol=problem.TOLERANCE))
