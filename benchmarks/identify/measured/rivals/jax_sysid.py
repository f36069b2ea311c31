"""`jax-sysid`: linear models of several orders by L-BFGS, then neural state-space models around the best of them.

As its documentation recommends: standardised signals, a linear model first, Adam and then L-BFGS, small penalties,
several seeds; order and seed are picked by the free run on the last quarter of the training record. Long records are
given in part, and the number of iterations falls with the number of samples, since every iteration runs through all of
them.
"""

import contextlib
import io

import jax
import jax.numpy as jnp
import numpy as np
from jax_sysid.models import LinearModel, Model

ORDERS = (2, 4, 6)
WIDTH = 8
SEEDS = (0, 1, 2)
SAMPLES = 10_000  # most samples that are fitted
WORK = 1_500_000  # most samples times iterations of a fit


def networks(nx, nu, ny, line, seed):
    """Parameters of `x+ = A x + B u + f(x, u)`, `y = C x + g(x, u)` around a linear model."""
    rng = np.random.default_rng(seed)
    z = nx + nu
    draw = lambda rows, columns: rng.normal(size=(rows, columns)) / columns**0.5
    f = [draw(WIDTH, z), np.zeros(WIDTH), 0.01 * draw(nx, WIDTH), np.zeros(nx)]
    g = [draw(WIDTH, z), np.zeros(WIDTH), 0.01 * draw(ny, WIDTH), np.zeros(ny)]
    return [*(np.asarray(part) for part in line), *f, *g]


def state(x, u, params):
    """The next state."""
    A, B, _, W, b, V, c = params[:7]
    return A @ x + B @ u + V @ jnp.tanh(W @ jnp.concatenate([x, u]) + b) + c


def output(x, u, params):
    """The output."""
    C, (W, b, V, c) = params[2], params[7:]
    return C @ x + V @ jnp.tanh(W @ jnp.concatenate([x, u]) + b) + c


def prepare(data):
    """The fits, and the run of the best on every test."""
    jax.config.update("jax_enable_x64", True)
    if not data["u"].shape[1]:
        return None  # the package is for systems with inputs

    def act():
        mean, size = {}, {}
        for letter in "uy":
            mean[letter], size[letter] = data[letter].mean(axis=0), np.maximum(data[letter].std(axis=0), 1e-12)
        scale = lambda letter, end="": (data[letter + end] - mean[letter]) / size[letter]
        u, y = scale("u"), scale("y")
        n = 3 * len(y) // 4
        fitted = slice(max(0, n - SAMPLES), n)
        iterations = int(min(1000, WORK // min(n, SAMPLES)))
        found = []

        def fit(model, adam):
            model.loss(rho_x0=1e-4, rho_th=1e-4)
            model.optimization(adam_epochs=adam, lbfgs_epochs=iterations, iprint=-1)
            model.fit(y[fitted], u[fitted])
            through, _ = model.predict(model.x0, u[fitted.start :])
            error = np.mean((np.asarray(through)[n - fitted.start :] - y[n:]) ** 2)
            found.append((error if np.isfinite(error) else np.inf, model))

        nu, ny = u.shape[1], y.shape[1]
        with contextlib.redirect_stdout(io.StringIO()):
            for nx in ORDERS:
                fit(LinearModel(nx, ny, nu, feedthrough=False, seed=int(data["seed"])), 0)
            line = min(found, key=lambda one: one[0])[1]
            for seed in SEEDS:
                model = Model(line.nx, ny, nu, state_fcn=state, output_fcn=output)
                model.init(params=networks(line.nx, nu, ny, line.params, int(data["seed"]) + seed), x0=line.x0)
                fit(model, iterations // 2)
            best = min(found, key=lambda one: one[0])[1]
            outputs = {"model": ("linear" if best.isLinear else "neural") + f", order {best.nx}"}
            shown = int(data["skip"])
            for index in range(sum(name.startswith("u_") for name in data)):
                inputs, measured = scale("u", f"_{index}"), scale("y", f"_{index}")
                x0 = best.learn_x0(inputs[:shown], measured[:shown], verbosity=False, LBFGS_refinement=True)
                free, _ = best.predict(x0, inputs)
                outputs[f"y_{index}"] = mean["y"] + size["y"] * np.asarray(free)
        return outputs

    return {"fit": act}, {}
