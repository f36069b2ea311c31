"""`benchmarks/rollout`: every contestant that runs here computes the referee's cost, gradient and updates."""

import importlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "rollout"
HORIZON, BATCH = 10, 3


@pytest.fixture(scope="module")
def load():
    """Imports a module of the benchmark, which stands outside any package."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"problem", "referee", "compiled", "ours", "rivals", "measure", "run"}:
            del sys.modules[name]


@pytest.fixture(scope="module")
def instance(load):
    return load("problem").instance(seed=0, batch=BATCH)


def test_referee_gradient_is_the_slope_of_its_cost(load, instance):
    referee = load("referee")
    weights = [instance[f"{kind}{layer}"].astype(float) for layer in range(3) for kind in "Wb"]
    x0 = instance["x0"].astype(float)
    _, gradient = referee.cost_and_gradient(weights, x0, HORIZON)
    rng = np.random.default_rng(1)
    direction = [rng.standard_normal(w.shape) for w in weights]

    def along(step):
        return referee.cost_and_gradient([w + step * d for w, d in zip(weights, direction, strict=True)], x0, HORIZON)[
            0
        ]

    h = 1e-5  # central differences in float64: truncation and rounding both near 1e-10
    slope = sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True))
    assert (along(h) - along(-h)) / (2 * h) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("name", ["ours", "rivals.handwritten", "rivals.checkpointed"])
def test_contestants_agree_with_the_referee(load, instance, name):
    truth = load("referee").judge(instance, HORIZON)
    with jax.enable_x64(False):  # the benchmark runs in float32, parameters included
        step, _ = load(name).prepare(instance, HORIZON)
        values = load("measure").check(step)
    # float32 weights and states: 1e-7 times the square root of some thousand operations
    assert values == pytest.approx(truth, rel=1e-5)


def test_rows_have_the_fields_of_the_report(load, instance):
    run, measure = load("run"), load("measure")
    values = load("referee").judge(instance, HORIZON)
    names = measure.CONTESTANTS
    times = {"compile_s": [1.0, 2.0], "cpu_s": [0.1, 0.2], "wall_s": [0.1, 0.2], "peak_mib": 100.0}
    record = {"contestants": {name: {**times, **values} for name in names}, "versions": {}, "failures": []}
    record["referee"] = values
    rows = run.finish(run.rows_of((0, 1000, 1000), record), record)
    fields = "item metric value unit target better rivals failures versions commit device date command"
    assert all(set(row) == set(fields.split()) for row in rows)
    by_metric = {row["metric"]: row for row in rows}
    assert by_metric["CPU time / that of hand-written JAX"]["value"] == pytest.approx(1.0)
    assert by_metric["peak memory / that of NeuroMANCER"]["target"] == run.MEMORY_LARGEST
    json.dumps(rows)


def test_a_failed_contestant_is_counted_and_its_targets_are_missed(load, instance):
    run = load("run")
    record = {"contestants": {}, "versions": {}, "failures": [run.OURS], "referee": load("referee").judge(instance, 1)}
    rows = run.finish(run.rows_of((0, 10, 32), record), record)
    assert rows and all(row["value"] is None and row["failures"] == 1 for row in rows)
