"""What `benchmarks/on_device.py` runs of this question: the larger batches of every size."""

import numpy as np
import problem
from harness import OURS, referees, row, solved_row
from harness.device import Case
from run import item_of

BATCHES = {10: (4096, 65_536), 32: (1024, 8192), 100: (256, 1024)}
SMALL = {4: (8,)}


def judge(item, data, outputs):
    """How many instances are solved, and the largest residual."""
    solved, largest = {}, {}
    for who, found in outputs.items():
        forward = found["forward"]
        residual = referees.residuals(data, forward["z"], forward["eq"], forward["ineq"])["largest"]
        solved[who], largest[who] = int(np.sum(residual <= 1.01 * problem.TOLERANCE)), float(np.max(residual))
    rows = [solved_row(item, f"instances solved at {problem.TOLERANCE:g}", solved, len(data["q"]))]
    return [*rows, row(item, "largest residual", largest)]


def cases(small):
    """Every size, batches from the smaller to the larger."""
    sizes, seed = SMALL if small else BATCHES, problem.SEEDS[0]
    pairs = [(n, batches[k]) for k in range(len(next(iter(sizes.values())))) for n, batches in sizes.items()]
    return [
        Case(
            item_of(n, batch, seed),
            lambda n=n, batch=batch: problem.instance(seed, n, batch),
            {OURS: "ours"},
            {"forward": "the batch"},
            judge,
        )
        for n, batch in pairs
    ]
