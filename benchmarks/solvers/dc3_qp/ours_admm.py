"""This library, on the same program by operator splitting."""

import problem
from harness.quadratic import ours_batch

from sciml.solvers import ADMM


def prepare(data, **options):
    """Forward, backward, and both."""
    tol = problem.tolerance(data)
    # The target's violation of 1e-9 is asked for: an interior point that ends on its active set has less unasked.
    return ours_batch.actions(data, ADMM(tol=0.05 * tol if tol < 1e-6 else tol), **options)
