"""IPOPT with MUMPS, through CasADi."""

import problem
from rivals import casadi_loop


def prepare(data):
    """Forward."""
    return casadi_loop.actions(
        data, "ipopt", {"ipopt.tol": problem.TOLERANCE, "ipopt.print_level": 0, "ipopt.sb": "yes"}
    )
