"""What `benchmarks/on_device.py` runs of this question: `solve_batch` on ten and on a hundred thousand instances."""

import numpy as np
import problem
from harness import OURS, row, solved_row
from harness.device import Case
from run import judge as conditions, RESIDUAL, SQP

COUNTS, SMALL = (problem.INSTANCES, 10 * problem.INSTANCES), (16,)


def judge(item, data, outputs):
    """How many instances are solved, and claims that the referee rejects."""
    solved, false = {}, {}
    for who, found in outputs.items():
        good = conditions(data, found["solve"])["largest"] <= RESIDUAL
        solved[who], false[who] = int(np.sum(good)), int(np.sum(found["solve"]["ok"].astype(bool) & ~good))
    rows = [solved_row(item, f"instances solved at {RESIDUAL:g}", solved, len(data["a"]))]
    return [*rows, row(item, "claimed successes that the referee rejects", false, target=0)]


def cases(small):
    """The smaller batch first."""
    return [
        Case(
            f"{count} instances, seed {problem.SEEDS[0]}",
            lambda count=count: problem.instance(problem.SEEDS[0], count),
            {OURS: "ours", SQP: "ours_sqp"},
            {"solve": "the batch"},
            judge,
        )
        for count in (SMALL if small else COUNTS)
    ]
