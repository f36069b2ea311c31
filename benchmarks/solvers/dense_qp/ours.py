"""This library; every array is a function of the instance."""

import problem
from harness.quadratic import ours_batch

from sciml.solvers import InteriorPointQP


def prepare(data):
    """Forward."""
    return ours_batch.actions(data, InteriorPointQP(tol=problem.TOLERANCE), derivatives=())
