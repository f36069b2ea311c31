"""Figures: what they say, that they change nothing global, and what they refuse."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from sciml import plotting
from sciml.core import RESULTS, stack, Trajectory

N = 12
T = np.arange(N + 1) * 4.0
Y = np.sin(T / 10.0)


@pytest.fixture
def matplotlib():
    pytest.importorskip("matplotlib.figure")
    return sys.modules["matplotlib"]


def run(shift=0.0, states=2, steps=N):
    x = jnp.sin(jnp.arange(steps + 1.0)[:, None] / 5.0 + jnp.arange(float(states))) + shift
    t = jnp.arange(steps + 1.0) * 4.0
    return Trajectory(t, x, jnp.cos(t[:-1, None]), x[:, :1], RESULTS.successful, jnp.asarray(0))


def labels(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def draws(ax, folder):
    """Whether the figure of `ax` can be written as it is."""
    file = folder / "figure.png"
    ax.figure.savefig(file)
    return file.stat().st_size > 1000


def test_measured_vs_simulated(matplotlib, tmp_path):
    ax = plotting.measured_vs_simulated(T, Y[:, None], jnp.asarray(Y + 0.5), name="level", unit="V", skip=3)
    residual = ax.figure.axes[1]
    assert labels(ax) == ["measured", "simulated (RMSE 0.5 V)"]
    assert (ax.get_ylabel(), residual.get_ylabel()) == ("level [V]", "residual [V]")
    assert residual.get_xlabel() == "time [s]"
    np.testing.assert_allclose(ax.lines[1].get_ydata(), Y + 0.5)
    np.testing.assert_allclose(residual.lines[-1].get_ydata(), -0.5)
    assert [text.get_text().strip() for text in ax.texts] == ["not scored"]
    assert draws(ax, tmp_path)


def test_measured_vs_simulated_in_given_axes(matplotlib):
    given = matplotlib.figure.Figure().subplots()
    ax = plotting.measured_vs_simulated(T, Y, Y + 1.0, ax=given, labels=("y", "s"), t_unit=None)
    assert ax is given and len(ax.figure.axes) == 1
    assert labels(ax) == ["y", "s (RMSE 1)"] and (ax.get_xlabel(), ax.get_ylabel()) == ("time", "output")


def test_closed_loops_side_by_side(matplotlib, tmp_path):
    axes = plotting.closed_loops(
        {"policy": run(), "exact": run(0.1)},
        references=[None, np.full(N, 0.5)],
        x_limits=[(0.0, 2.0), None],
        u_limits=[(None, 3.0)],
        x_names=["upper", "lower"],
        x_units=["V", "V"],
    )
    assert [ax.get_ylabel() for ax in axes] == ["upper [V]", "lower [V]", "u1"]
    assert axes[-1].get_xlabel() == "time [s]"
    assert labels(axes[0]) == ["policy", "exact", "reference", "limit"]
    assert [sum(line.get_linestyle() == "--" for line in ax.lines) for ax in axes] == [2, 0, 1]
    assert axes[0].get_ylim()[0] < 0.0 < 2.0 < axes[0].get_ylim()[1] and axes[2].get_ylim()[1] > 3.0
    policy, exact = (line for line in axes[0].lines if line.get_linestyle() == "-")
    np.testing.assert_allclose(exact.get_ydata() - policy.get_ydata(), 0.1)
    assert policy.get_color() != exact.get_color()
    held = axes[2].lines[0]
    assert held.get_drawstyle() == "steps-post" and held.get_ydata()[-1] == held.get_ydata()[-2]
    assert draws(axes[0], tmp_path)


def test_closed_loops_of_a_scalar_state_without_input(matplotlib):
    alone = Trajectory(jnp.asarray(T), jnp.asarray(Y), None, jnp.asarray(Y), RESULTS.successful, jnp.asarray(0))
    (ax,) = plotting.closed_loops({"run": alone})
    assert ax.get_ylabel() == "x1" and labels(ax) == ["run"]


def test_training_curve(matplotlib, tmp_path):
    ax = plotting.training_curve(np.arange(5), np.array([5.0, 4.0, np.nan, 2.0, 1.0]), unit="V²")
    assert ax.get_yscale() == "log" and (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss [V²]")
    assert len(ax.lines) == 1 and labels(ax) == []
    assert draws(ax, tmp_path)


def test_training_curve_of_many_noisy_values(matplotlib):
    steps = np.arange(1000)
    losses = {"train": np.where(steps % 7 == 0, 50.0, 1.0), "validation": np.where(steps < 300, np.nan, 2.0)}
    ax = plotting.training_curve(steps, losses, log=False)
    assert labels(ax) == ["train", "validation"] and ax.get_yscale() == "linear"
    assert np.all(ax.lines[1].get_ydata() == 1.0)  # the median knows nothing of every seventh value
    assert np.isnan(ax.lines[3].get_ydata()[:280]).all() and np.all(ax.lines[3].get_ydata()[300:] == 2.0)


def test_gap_histogram(matplotlib, tmp_path):
    ax = plotting.gap_histogram(jnp.linspace(0.0, 0.1, 101))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("gap to the exact cost [%]", "instances")
    assert [text.get_text().strip() for text in ax.texts] == ["mean 5 %", "95th percentile 9.5 %"]
    assert sum(bar.get_height() for bar in ax.patches) == 101
    assert draws(ax, tmp_path)


def test_figures_change_nothing_global(matplotlib):
    before = dict(matplotlib.rcParams)
    given = matplotlib.figure.Figure().subplots(2)
    assert plotting.gap_histogram(np.ones(3), ax=given[0]) is given[0]
    assert plotting.training_curve(np.arange(3), np.ones(3), ax=given[1]) is given[1]
    plotting.closed_loops({"run": run()})
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (
        lambda: plotting.gap_histogram(np.ones(3)),
        lambda: plotting.closed_loops({"run": run()}),
        lambda: plotting.training_curve(np.arange(3), np.ones(3)),
        lambda: plotting.measured_vs_simulated(T, Y, Y),
    ):
        with pytest.raises(ImportError, match=r'`matplotlib`: got no such package.*pip install "sciml-jax\[plot\]"'):
            draw()


BATCHED = stack([run(), run()])
RECORD = Trajectory(jnp.asarray(T), {"a": jnp.asarray(Y)}, None, None, RESULTS.successful, jnp.asarray(0))
SHORT = Trajectory(jnp.asarray(T), jnp.asarray(Y), jnp.zeros(3), None, RESULTS.successful, jnp.asarray(0))


@pytest.mark.parametrize(
    "draw, match",
    [
        (lambda: plotting.measured_vs_simulated(T, Y[:-1], Y), "`measured`: got 12 samples; expected 13"),
        (lambda: plotting.measured_vs_simulated(T, Y, np.ones((N + 1, 2))), "`simulated`: got shape .*one channel"),
        (lambda: plotting.measured_vs_simulated(T, Y, Y, residual_ax=0), "`residual_ax`: got an axes without `ax`"),
        (lambda: plotting.measured_vs_simulated(T, Y, Y, skip=13), "`skip`: got 13"),
        (lambda: plotting.closed_loops({}), "`trajectories`: got no run"),
        (lambda: plotting.closed_loops({"a": BATCHED}), r"`trajectories\['a'\]`: got times of shape \(2, 13\)"),
        (lambda: plotting.closed_loops({"a": RECORD}), r"`trajectories\['a'\].x`: got a dict; expected an array"),
        (lambda: plotting.closed_loops({"a": SHORT}), r"`trajectories\['a'\].u`: got shape \(3,\)"),
        (lambda: plotting.closed_loops({"a": run(), "b": run(states=3)}), "expected runs of one system"),
        (lambda: plotting.closed_loops({"a": run()}, x_names="ab"), "`x_names`: got 'ab'; expected a sequence of 2"),
        (lambda: plotting.closed_loops({"a": run()}, u_limits=[]), r"`u_limits`: got \[\]; expected a sequence of 1"),
        (lambda: plotting.training_curve(np.arange(3), np.ones(4)), "`losses`: got 4 samples; expected 3"),
        (lambda: plotting.training_curve(np.arange(3), np.zeros(3)), "`losses`: got a value <= 0.*`log=False`"),
        (lambda: plotting.training_curve(np.arange(3), np.full(3, np.nan)), "`losses`: got no finite value"),
        (lambda: plotting.gap_histogram(np.ones(0)), "`gaps`: got 0 of 0 that are not finite"),
        (lambda: plotting.gap_histogram(np.array([1.0, np.inf])), "`gaps`: got 1 of 2 that are not finite"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()


def test_wrong_numbers_of_axes_and_references_are_named(matplotlib):
    with pytest.raises(ValueError, match="`axes`: got 1 axes; expected 3: 2 states and 1 inputs"):
        plotting.closed_loops({"a": run()}, axes=[matplotlib.figure.Figure().subplots()])
    with pytest.raises(ValueError, match=r"`references\[1\]`: got 5 samples; expected 12 or 13"):
        plotting.closed_loops({"a": run()}, references=[None, np.ones(5)])
