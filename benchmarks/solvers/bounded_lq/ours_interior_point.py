"""This library's interior-point method for nonlinear programs, on states and inputs."""

import problem
import stages

from sciml.solvers import InteriorPoint


def prepare(data):
    """Forward, and forward with derivatives."""
    return stages.actions(data, InteriorPoint(tol=problem.ASKED))
