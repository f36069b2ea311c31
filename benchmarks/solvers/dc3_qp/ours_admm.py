"""This library, on the same program by operator splitting."""

import ours_batch
import problem

from sciml.solvers import ADMM


def prepare(data):
    """Forward, backward, and both."""
    return ours_batch.actions(data, ADMM(tol=problem.tolerance(data)))
