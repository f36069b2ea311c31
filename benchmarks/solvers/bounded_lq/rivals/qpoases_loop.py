"""qpOASES, an active-set method, on the inputs alone."""

from rivals import casadi_loop


def prepare(data):
    """Forward."""
    return casadi_loop.dense(data, "qpoases", {"printLevel": "none"})
