"""Iterative LQR."""

import ours_plan
import problem

from sciml.policies import ILQR


def prepare(case, data):
    """Single and batch."""
    return ours_plan.actions(case, data, ILQR(tol=problem.TOLERANCE))
