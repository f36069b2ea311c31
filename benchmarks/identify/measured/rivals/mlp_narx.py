"""A network of past inputs and outputs for the next output (NARX), scikit-learn's `MLPRegressor`, in free run.

Lags are picked by the free run on the last quarter of the training record, as is the better of two seeds.
"""

import warnings

import numpy as np
from sklearn.neural_network import MLPRegressor

LAGS = (2, 4, 8, 16)
SEEDS = (0, 1)
SAMPLES = 20_000  # of one-step pairs


def rows(u, y, lag):
    """`y[k-1..k-lag], u[k..k-lag]` for each `k >= lag`."""
    past = [y[lag - j : len(y) - j] for j in range(1, lag + 1)]
    return np.concatenate([*past, *(u[lag - j : len(u) - j] for j in range(lag + 1))], axis=1)


def run(network, u, y, lag, start):
    """The free run from sample `start`, whose past is measured; it is held within five deviations."""
    y = y.copy()
    hidden, last = zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True), None
    hidden, last = list(hidden), (network.coefs_[-1], network.intercepts_[-1])
    for k in range(start, len(y)):
        z = np.concatenate([y[k - lag : k][::-1].ravel(), u[k - lag : k + 1][::-1].ravel()])
        for W, b in hidden:
            z = np.tanh(z @ W + b)
        y[k] = np.clip(z @ last[0] + last[1], -5, 5)
    return y


def prepare(data):
    """The fits, and the run of the best on every test."""
    warnings.simplefilter("ignore")

    def act():
        mean, size = {}, {}
        for letter in "uy":
            mean[letter], size[letter] = data[letter].mean(axis=0), np.maximum(data[letter].std(axis=0), 1e-12)
        scale = lambda letter, end="": (data[letter + end] - mean[letter]) / size[letter]
        u, y = scale("u"), scale("y")
        n = 3 * len(y) // 4
        lags = [lag for lag in LAGS if lag <= int(data["skip"]) and 4 * lag < n] or [1]
        found = []
        for lag in lags:
            z, target = rows(u[:n], y[:n], lag), y[lag:n]
            stride = max(1, len(z) // SAMPLES)
            for seed in SEEDS:
                network = MLPRegressor(
                    hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", alpha=1e-3, max_iter=500
                )
                network.set_params(random_state=int(data["seed"]) + seed)
                network.fit(z[::stride], target[::stride].squeeze())
                free = run(network, u[n - lag :], y[n - lag :], lag, lag)
                found.append((np.mean((free - y[n - lag :]) ** 2), lag, network))
        _, lag, network = min(found, key=lambda one: one[0])
        outputs = {"model": f"{lag} lags"}
        for index in range(sum(name.startswith("u_") for name in data)):
            free = run(network, scale("u", f"_{index}"), scale("y", f"_{index}"), lag, int(data["skip"]))
            outputs[f"y_{index}"] = mean["y"] + size["y"] * free
        return outputs

    return {"fit": act}, {}
