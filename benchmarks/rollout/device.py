"""What `benchmarks/on_device.py` runs of this question: one gradient step of long and wide closed loops."""

import functools

import problem
import referee
from harness import OURS, row
from harness.device import Case
from run import ERROR, HAND

SHAPES = ((50, 1000), (1000, 1000), (50, 10_000), (1000, 32))  # horizon, batch
SMALL = ((5, 2),)


def case_of(horizon, batch):
    """One shape. A step changes the weights, so that only the first call is judged."""

    def prepare(module, data):
        step, seconds = module.prepare(data, horizon)
        return {"step": lambda: dict(zip(("cost", "gradient_norm"), step(), strict=True))}, {"step": seconds}

    truth = functools.cache(lambda: referee.judge(problem.instance(0, batch), horizon, updates=0))

    def judge(item, data, outputs):
        error = lambda found: max(abs(float(found[name]) / truth()[name] - 1) for name in ("cost", "gradient_norm"))
        errors = {who: error(found["step"]) for who, found in outputs.items()}
        return [row(item, "relative error against the referee", errors, target=ERROR)]

    return Case(
        f"horizon {horizon}, batch {batch}, seed 0",
        lambda: problem.instance(0, batch),
        {OURS: "ours", HAND: "rivals.handwritten"},
        {"step": "a gradient step"},
        judge,
        prepare,
        x64=False,
    )


def cases(small):
    """All shapes."""
    return [case_of(horizon, batch) for horizon, batch in (SMALL if small else SHAPES)]
