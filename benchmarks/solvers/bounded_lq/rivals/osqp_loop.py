"""OSQP with its polishing step, on states and inputs."""

import problem
from rivals import casadi_loop


def prepare(data):
    """Forward."""
    options = {"eps_abs": problem.ASKED, "eps_rel": 0.0, "polish": True, "max_iter": 20_000, "verbose": False}
    return casadi_loop.by_stages(data, "osqp", {"osqp": options, "error_on_fail": False})
