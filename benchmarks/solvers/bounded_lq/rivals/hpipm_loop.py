"""HPIPM, the interior-point method that acados uses, on states and inputs.

What stands for an absent bound is near the states, since the products of distance and least multiplier must pass its
stopping test; with CasADi's 1e8 every instance runs into the limit of iterations.
"""

import problem
from rivals import casadi_loop


def prepare(data):
    """Forward."""
    tests = dict.fromkeys(("res_g_max", "res_b_max", "res_d_max", "res_m_max"), problem.ASKED)
    options = {"inf": 1e5, "hpipm": {"iter_max": 100, **tests}, "error_on_fail": False}
    return casadi_loop.by_stages(data, "hpipm", options)
