"""This library: matrices that instances share are arrays of the program, the others functions of the instance."""

import problem
from harness.quadratic import ours_batch

from sciml.solvers import InteriorPointQP


def prepare(data, **options):
    """Forward, backward, and both."""
    return ours_batch.actions(data, InteriorPointQP(tol=problem.tolerance(data)), **options)
