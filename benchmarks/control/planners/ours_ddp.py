"""Differential dynamic programming, with the curvature of the dynamics."""

import ours_plan
import problem

from sciml.policies import ILQR


def prepare(case, data):
    """Single and batch."""
    return ours_plan.actions(case, data, ILQR(is_second_order=True, tol=problem.TOLERANCE))
