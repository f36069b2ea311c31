"""This library's interior-point method."""

import ours_solve
import problem

from sciml.solvers import InteriorPoint


def prepare(data):
    """Forward."""
    return ours_solve.actions(data, InteriorPoint(tol=problem.TOLERANCE))
