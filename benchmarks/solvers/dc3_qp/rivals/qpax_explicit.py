"""qpax with its explicit backend, the default."""

import problem
import qpax_batch


def prepare(data):
    """Forward, backward, and both."""
    return qpax_batch.actions(data, "e", problem.tolerance(data))
