"""The linear model of `training.subspace` with the order of the best free run on the last quarter; no iterations."""

import numpy as np

from sciml.simulation import free_run
from sciml.sources import record, scale_records, split_time
from sciml.systems.models import scaled
from sciml.training import subspace

ORDERS = (1, 2, 3, 4, 6, 8)


def prepare(data):
    """The fits, and the run of the best on every test."""
    dt = float(data["dt"])
    measured = lambda end="": record(data["y" + end], data["u" + end] if data["u"].shape[1] else None, dt=dt)

    def act():
        train = measured()
        scaling = scale_records(train)
        fitting, validation = split_time(scaling.apply(train), (0.75, 0.25))
        lag = int(min(20, len(data["y"]) // 10, len(data["y_0"]) // 5))
        found = []
        for order in ORDERS:
            try:
                model, _ = subspace(fitting, order, lag=lag)
            except ValueError:  # too short a record
                continue
            misfit = np.asarray(free_run(model, validation).y - validation.y[lag:])
            found.append((np.mean(misfit**2), order, model))
        _, order, model = min(found, key=lambda one: one[0])
        outputs = {"model": f"order {order}"}
        for index in range(sum(name.startswith("u_") for name in data)):
            run = np.asarray(free_run(scaled(model, scaling), measured(f"_{index}")).y)
            shown = len(data[f"y_{index}"]) - len(run)
            outputs[f"y_{index}"] = np.concatenate([data[f"y_{index}"][:shown], run])
        return outputs

    return {"fit": act}, {}
