"""IPOPT with MUMPS, through CasADi, one instance after the other, from the run under the same inputs."""

import ipopt
import numpy as np
import problem


def prepare(case, data):
    """Single and batch."""
    solve, u0 = ipopt.solver(case), problem.start(case)

    def some(count):
        found = [solve(x0, u0) for x0 in data["x0"][:count]]
        return {name: np.array([one[i] for one in found]) for i, name in enumerate(("u", "steps", "solved"))}

    return {"single": lambda: some(1), "batch": lambda: some(problem.BATCH)}, {}
