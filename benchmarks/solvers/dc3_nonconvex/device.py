"""What `benchmarks/on_device.py` runs of this question: the batch, through slots."""

import numpy as np
import problem
from harness import OURS, row, solved_row
from harness.device import Case
from run import judge as conditions, RESIDUAL, SQP

SMALL = 4  # instances


def judge(item, data, outputs):
    """How many instances are solved, claims that the referee rejects, and the mean objective."""
    solved, false, mean = {}, {}, {}
    for who, found in outputs.items():
        good = conditions(data, found["batch"])["largest"] <= RESIDUAL
        solved[who], false[who] = int(np.sum(good)), int(np.sum(found["batch"]["ok"].astype(bool) & ~good))
        mean[who] = float(np.mean(problem.objective(data, found["batch"]["y"])))
    rows = [solved_row(item, f"instances solved at {RESIDUAL:g}", solved, len(data["x"]))]
    rows.append(row(item, "claimed successes that the referee rejects", false, target=0))
    return [*rows, row(item, "mean objective", mean)]


def cases(small):
    """The published seed, then the other."""
    lanes = SMALL if small else problem.TESTED
    return [
        Case(
            f"{lanes} instances, seed {seed}",
            lambda seed=seed: problem.instance(seed, lanes),
            {OURS: "ours", SQP: "ours_sqp"},
            {"batch": "the batch"},
            judge,
        )
        for seed in problem.SEEDS[: 1 if small else None]
    ]
