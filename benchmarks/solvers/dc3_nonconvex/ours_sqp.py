"""This library: `SQP()` on the same `Program`."""

import ours

from sciml.solvers import SQP


def prepare(data):
    """The sequence of quadratic programs."""
    return ours.actions(data, SQP())
