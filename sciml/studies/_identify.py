"""The identification study: a model of a measured record, in one command."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.random as jr
import numpy as np

from ..core import invalid
from ..simulation import free_run
from ..sources import read_csv, Record, record, resample, scale_records, Scaling, split_time
from ..storage import load
from ..systems.models import Encoder, scaled, Started
from . import _identify_models as models
from ._identify_findings import determined, number, residual_tests
from ._identify_fits import compare
from ._study import AbstractStudy, argument, option, Run

_LEAST = 60  # samples of a training record
_free_run = eqx.filter_jit(free_run)


class _Found(NamedTuple):
    """What the figures need."""

    test: Record
    simulated: np.ndarray
    spread: np.ndarray
    outputs: list[str]
    lag: int
    linear: Started
    """The linear model that the others began at, in physical units."""


class Identify(AbstractStudy):
    """A dynamical model of measured inputs and outputs.

    Fits linear models of several orders, then Hammerstein-Wiener and neural state-space models that begin at the best
    of them, and picks the smallest whose free run on the last quarter of the training record is not surely worse than
    the best one. The test record is used once, for the figures of the report: a free run from its inputs and its first
    `lag` outputs.

    Args:
        train: CSV file with a header; every row is a sample.
        test: another one; None holds out the last quarter of `train`.
        inputs, outputs: names of columns, separated by commas.
        time: column of times; uneven ones are resampled.
        dt: sampling time, if there is no column of times.
        models: nonlinear classes to try, separated by commas; "linear" for none.
        steps: Levenberg-Marquardt steps of every fit.
    """

    train: str = argument("CSV file of the training record, with a header")
    test: str | None = option(None, "CSV file of the test record; the last quarter of TRAIN if left out")
    inputs: str = option("", "columns of the inputs, separated by commas")
    outputs: str = option("y", "columns of the outputs, separated by commas; empty cells are missing samples")
    time: str | None = option(None, "column of times")
    dt: float = option(1.0, "sampling time, without a column of times")
    models: str = option(",".join(models.KINDS), "nonlinear classes to try; `linear` for none")
    steps: int = option(40, "steps of every fit")

    def run(self, run: Run) -> tuple[dict[str, Any], Any]:
        """Reads, fits, picks, tests and saves."""
        u_names, y_names = _names(self.inputs), _names(self.outputs)
        kinds = [name for name in _names(self.models) if name != "linear"]
        if unknown := [name for name in kinds if name not in models.KINDS]:
            raise invalid("models", unknown, f"some of linear, {', '.join(models.KINDS)}", "correct the spelling")
        if not y_names:
            raise invalid("outputs", "none", "names of columns", "say what is to be modelled: `--outputs y1,y2`")
        train, resampled = self._read(self.train, u_names, y_names, "train")
        if self.test is None:
            train, test = split_time(train, (0.75, 0.25))
        else:
            test, _ = self._read(self.test, u_names, y_names, "test", dt=float(train.t[1] - train.t[0]))
        report, found = identify(
            train, test, kinds, steps=self.steps, seed=run.seed, announce=lambda name: _say(run, name),
            names=(u_names, y_names),
        )  # fmt: skip
        run.save("model.sciml", report.pop("fitted"))
        report |= {"resampled": resampled, "data": Path(self.train).name}
        return report, found

    def figures(self, found: _Found) -> dict[str, Any]:
        """The free run on the test record, with a band of two deviations of the validation error, for each output."""
        from ..plotting import measured_vs_simulated

        axes = {}
        t = np.asarray(found.test.t)[found.lag :]
        y, mask = np.asarray(found.test.y)[found.lag :], np.asarray(found.test.is_measured)[found.lag :]
        for k, name in enumerate(found.outputs):
            keep = mask[:, k]
            s = found.simulated[:, k]
            ax = measured_vs_simulated(t[keep], y[keep, k], s[keep], name=name, t_unit=None)
            low, high = s - 2 * found.spread[k], s + 2 * found.spread[k]
            ax.fill_between(t, low, high, alpha=0.2, linewidth=0, zorder=0)
            axes[f"test_{name}.png"] = ax
        return axes

    def _read(
        self, path: str, u_names: list[str], y_names: list[str], argument: str, dt: float | None = None
    ) -> tuple[Record, bool]:
        """A record from a file, on an even grid; and whether it was resampled."""
        times = [self.time] if self.time else []
        columns = read_csv(path, [*u_names, *y_names, *times], gaps=y_names, min_length=_LEAST if dt is None else 20)
        y = np.stack([columns[name] for name in y_names], axis=1)
        u = np.stack([columns[name] for name in u_names], axis=1) if u_names else None
        for name in [*u_names, *y_names]:
            if dt is None and np.nanmax(columns[name]) == np.nanmin(columns[name]):
                fix = "leave it out: nothing can be learned about an input that does not move" if name in u_names else (
                    "leave it out: it can be predicted without a model"
                )  # fmt: skip
                raise invalid(argument, f"column {name!r}, which is constant", "a signal that varies", fix)
        if self.time is None:
            if dt is None and not self.dt > 0:
                raise invalid("dt", self.dt, "a sampling time > 0", "leave it out, or name the column of times")
            return record(y, u, dt=self.dt), False
        uneven = record(y, u, t=columns[self.time])
        even = resample(uneven, dt=dt)
        return even, even is not uneven


def identify(
    train: Record, test: Record, kinds: list[str], *, steps: int, seed: int, announce: Any, names: Any
) -> tuple[dict[str, Any], _Found]:
    """Report and figures' data of an identification from even records in physical units."""
    length = int(train.length)
    channels = train.y.shape[-1] + (0 if train.u is None else train.u.shape[-1])
    # As many windows of the part that is fitted as past and future samples of all channels in one, see `subspace`.
    widest = (int(0.75 * length) - 1) // (2 * channels + 2)
    lag = int(max(1, min(20, length // 10, test.t.shape[0] // 5, widest)))
    scaling = scale_records(train)
    inside = scaling.apply(train)
    fitting, validation = split_time(inside, (0.75, 0.25))
    plan = models.Plan(fitting, validation, lag, steps, jr.key(seed))
    ranking = compare(plan, kinds, announce)
    best = ranking[0]
    line = next(one for one in ranking if one.name.startswith("linear"))
    announce("test")
    final, linear = (_in_units(one.model, scaling) for one in (best, line))
    size = np.asarray(scaling.y.scale)
    run = _free_run(final, test)
    per = lambda values: {name: number(v) for name, v in zip(names[1], np.asarray(values), strict=True)}
    errors = {
        "train_rmse": models.error(best.model, fitting) * size,
        "validation_rmse": models.error(best.model, validation) * size,
        "test_rmse": models.error(final, test),
        "linear_test_rmse": models.error(linear, test),
    }
    mask = np.asarray(test.is_measured)[lag:]
    deviation = np.array([np.std(np.asarray(test.y)[lag:, k][mask[:, k]]) for k in range(mask.shape[1])])
    fits = 100 * (1 - np.asarray(errors["test_rmse"]) / np.maximum(deviation, 1e-300))
    report = {
        "model": best.name, **{name: per(values) for name, values in errors.items()}, "test_fit_percent": per(fits),
        "residuals": residual_tests(best.model, validation, names),
        "identifiability": determined(best, fitting), "lag": lag,
        "samples": {"train": length, "test": int(test.length)},
        "candidates": {
            one.name: {"validation": number(one.validation), "diverged": not np.isfinite(one.validation)}
            for one in reversed(ranking)
        },
        "architecture": {
            "name": best.name, "order": _order(best.model), "inputs": len(names[0]),
            "outputs": len(names[1]), "lag": lag, "dt": float(train.t[1] - train.t[0]),
        },
        "fitted": final,
    }  # fmt: skip
    spread = np.asarray(errors["validation_rmse"])
    return report, _Found(test, np.asarray(run.y), spread, names[1], lag, linear)


def load_identified(folder: str | Path) -> Started:
    """The model that `python -m sciml identify` saved in a folder, for `simulation.free_run` and everything else.

    Args:
        folder: the folder of the results, with `report.json` and `model.sciml`.

    Returns:
        The model in physical units, with its start: `free_run(model, record)` predicts a record.
    """
    folder = Path(folder)
    report = folder / "report.json"
    if not report.is_file():
        raise invalid("folder", str(folder), "a folder of results with `report.json`", "give the folder of `--out`")
    shape = json.loads(report.read_text())["architecture"]
    inner = models.blank(**shape)
    ones = lambda n: np.arange(2.0)[:, None] * np.ones(n)
    like = scale_records(record(ones(shape["outputs"]), ones(shape["inputs"]) if shape["inputs"] else None, dt=1.0))
    return load(folder / "model.sciml", scaled(inner, like))


def _in_units(model: Started, scaling: Scaling) -> Started:
    """The fitted model in physical units, with its start."""
    whole = scaled(model, scaling)
    assert isinstance(whole, Started)
    return whole


def _order(model: Started) -> int:
    """The number of states."""
    assert isinstance(model.start, Encoder)
    return int(model.start.W.shape[0])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(run: Run, name: str) -> None:
    with run.step(name.replace(" ", "_")):
        pass
