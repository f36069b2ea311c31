"""This library's sequential quadratic programming, on states and inputs: one quadratic program."""

import problem
import stages

from sciml.solvers import SQP


def prepare(data):
    """Forward, and forward with derivatives."""
    return stages.actions(data, SQP(tol=problem.ASKED))
