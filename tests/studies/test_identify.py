"""`python -m sciml identify`: what it writes, what it loads again, and what it refuses before anything long starts."""

import json

import numpy as np
import pytest

from sciml.__main__ import main
from sciml.simulation import free_run
from sciml.sources import record
from sciml.studies import load_identified


def plant(n=240, seed=0):
    """A Hammerstein plant of second order with noise, channels of very different size."""
    rng = np.random.default_rng(seed)
    u, x, y = np.repeat(rng.uniform(-1, 1, n // 6 + 1), 6)[:n], np.zeros(2), np.zeros(n)
    for k in range(n):
        y[k] = x[0]
        x = np.array([x[0] + 0.2 * x[1], x[1] + 0.2 * (u[k] + 0.5 * u[k] ** 2 - x[0] - 0.8 * x[1])])
    return {"u": 1e6 * u, "y": 300.0 + 1e-3 * (y + 0.005 * rng.normal(size=n))}


def write(path, columns):
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def test_a_report_and_a_model_that_predicts(tmp_path):
    data = plant()
    data["y"] = ["" if 50 <= k < 53 else value for k, value in enumerate(data["y"])]  # missing samples
    train, test = write(tmp_path / "train.csv", data), plant(120, seed=1)
    out = tmp_path / "out"
    arguments = ["identify", train, "--test", write(tmp_path / "test.csv", test), "--inputs", "u", "--outputs", "y"]
    assert main([*arguments, "--dt", "0.2", "--models", "hammerstein-wiener", "--steps", "12", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    keys = ("train_rmse", "validation_rmse", "test_rmse", "linear_test_rmse", "test_fit_percent")
    assert all(np.isfinite(report[key]["y"]) for key in keys) and report["seed"] == 0 and report["seconds_total"] > 0
    # A linear model cannot see the square.
    assert report["model"] == "hammerstein-wiener"
    assert "combinations of the entries" in report["identifiability"]["finding"]
    assert report["test_rmse"]["y"] < 0.6 * report["linear_test_rmse"]["y"]
    model = load_identified(out)
    measured = record(np.asarray(test["y"]), np.asarray(test["u"]), dt=0.2)
    run = free_run(model, measured)
    error = np.asarray(run.y - measured.y[model.start.lag :])
    assert np.sqrt(np.mean(error**2)) == pytest.approx(report["test_rmse"]["y"], rel=1e-9)
    assert (out / "report.md").exists() and (out / "test_y.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda c: c.update(u=["three", *c["u"][1:]]), [], "the text 'three' in column 'u', line 2"),
        (lambda c: c.update(u=[*c["u"][:7], np.nan, *c["u"][8:]]), [], "nan in column 'u', line 9"),
        (lambda c: c.update(u=np.ones(240)), [], "column 'u', which is constant"),
        (lambda c: c.update(y=np.full(240, 0.1)), [], "column 'y', which is constant"),
        (lambda c: c.update({k: v[:40] for k, v in c.items()}), [], "40 samples"),
        (lambda c: c.update(t=[0.0, 1.0, 1.0, *range(3, 240)]), ["--time", "t"], "t[1] = 1, t[2] = 1"),
        (lambda c: c.update(t=[0.0, 2.0, 1.0, *range(3, 240)]), ["--time", "t"], "strictly increasing"),
        (lambda c: None, ["--models", "state-space-9"], "got ['state-space-9']"),
        (lambda c: None, ["--outputs", ""], "`outputs`: got none"),
        (lambda c: None, ["--inputs", "v"], "without ['v']"),
        (lambda c: None, ["--dt", "-1.0"], "`dt`: got -1.0"),
    ],
)
def test_bad_input_ends_with_a_message(tmp_path, capsys, spoil, options, message):
    columns = plant()
    spoil(columns)
    path = write(tmp_path / "record.csv", columns)
    base = ["identify", path, "--inputs", "u", "--outputs", "y", "--out", str(tmp_path / "out")]
    assert main([*base, *options]) == 2
    error = capsys.readouterr().err
    assert message in error and "Likely fix" in error


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(ValueError, match="`folder`: got .*report.json"):
        load_identified(tmp_path)
