"""fatrop, an interior-point method with a Riccati recursion for each step, through CasADi."""

import problem
from rivals import casadi_loop


def prepare(data):
    """Forward; it finds the stages by itself."""
    rows = problem.NX * (len(data["reference"]) - 1)
    options = {"structure_detection": "auto", "equality": [True] * rows, "fatrop.print_level": 0}
    return casadi_loop.actions(data, "fatrop", {**options, "fatrop.tol": problem.TOLERANCE})
