"""qpax with its implicit backend, made for float32."""

import problem
from harness.quadratic import qpax_batch


def prepare(data):
    """Forward, backward, and both."""
    return qpax_batch.actions(data, "i", problem.tolerance(data))
