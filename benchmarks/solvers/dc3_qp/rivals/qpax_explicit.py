"""qpax with its explicit backend, the default."""

import problem
from harness.quadratic import qpax_batch


def prepare(data):
    """Forward, backward, and both."""
    return qpax_batch.actions(data, "e", problem.tolerance(data))
