"""This library: `solve_batch` with `SQP()`, through slots by default."""

import ours

from sciml.solvers import SQP


def prepare(data):
    """One action."""
    return ours.actions(data, SQP())
