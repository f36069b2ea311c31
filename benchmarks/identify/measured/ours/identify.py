"""The study `python -m sciml identify`, on every set by the same call."""

import os
import warnings
from importlib.metadata import version

if version("jaxlib").startswith("0.10."):  # as `python -m sciml` does; it halves the time to compile
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"

import equinox as eqx  # noqa: E402
import numpy as np  # noqa: E402

from sciml.simulation import free_run  # noqa: E402
from sciml.sources import record  # noqa: E402
from sciml.studies._identify import identify  # noqa: E402
from sciml.studies._identify_models import KINDS  # noqa: E402


def prepare(data):
    """The fit, and the runs of its best and of its linear model on every test."""
    dt = float(data["dt"])
    simulate = eqx.filter_jit(free_run)
    measured = lambda end="": record(data["y" + end], data["u" + end] if data["u"].shape[1] else None, dt=dt)
    warnings.simplefilter("ignore")  # the deviation of a test without outputs
    names = [[f"{letter}{k}" for k in range(data[letter].shape[1])] for letter in "uy"]

    def act():
        # A test has outputs at its first samples only: the report's test errors are left to the referee.
        report, found = identify(
            measured(), measured("_0"), list(KINDS), steps=int(data["steps"]), seed=int(data["seed"]),
            announce=lambda name: None, names=names,
        )  # fmt: skip
        outputs = {"model": report["model"], "validation": report["candidates"][report["model"]]["validation"]}
        outputs["candidates"] = str({name: one["validation"] for name, one in report["candidates"].items()})
        for index in range(sum(name.startswith("u_") for name in data)):
            test = measured(f"_{index}")
            for name, model in (("", report["fitted"]), ("linear_", found.linear)):
                run = np.asarray(simulate(model, test).y)
                outputs[f"{name}y_{index}"] = np.concatenate([data[f"y_{index}"][: len(test.t) - len(run)], run])
        return outputs

    return {"fit": act}, {}
