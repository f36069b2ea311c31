"""`MPC` as a real-time iteration: one quadratic program in each step."""

import ours_loops


def prepare(case, data):
    """One closed loop, and all of them at once."""
    return ours_loops.actions(case, data, max_steps=1, real_time=True)
