"""What `benchmarks/on_device.py` runs of this question: forward, and forward and backward in one call."""

import numpy as np
import problem
from harness import OURS, referees, row, solved_row
from harness.device import Case
from run import instance

BOTH = {OURS: "ours", "sciml, ADMM": "ours_admm"}
CONTESTANTS = {"float64, shared": BOTH, "float32, shared": BOTH, "float64, nothing shared": {OURS: "ours"}}
ACTIONS = {"forward": "forward", "both": "forward and backward"}
SMALL = 8  # instances


def judge(item, data, outputs):
    """How many instances are solved, and the largest residual."""
    tolerance, solved, largest = problem.tolerance(data), {}, {}
    data = {name: value.astype(np.float64) for name, value in data.items()}
    for who, found in outputs.items():
        forward = {name: value.astype(np.float64) for name, value in found["forward"].items()}
        residual = referees.residuals(data, forward["z"], forward["eq"], forward["ineq"])["largest"]
        solved[who], largest[who] = int(np.sum(residual <= 1.01 * tolerance)), float(np.max(residual))
    rows = [solved_row(item, f"instances solved at {tolerance:g}", solved, len(data["b"]))]
    return [*rows, row(item, "largest residual", largest)]


def cases(small):
    """All cases on the published seed, then on the other."""
    lanes = SMALL if small else problem.TESTED
    return [
        Case(
            f"{case}, {lanes} instances, seed {seed}",
            lambda case=case, seed=seed: instance(case, seed, lanes),
            contestants,
            ACTIONS,
            judge,
            lambda module, data: module.prepare(data, derivatives=("both",)),
            "float64" in case,
        )
        for seed in problem.SEEDS[: 1 if small else None]
        for case, contestants in CONTESTANTS.items()
    ]
