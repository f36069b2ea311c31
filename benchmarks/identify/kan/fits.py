"""The fits of a network to a case's samples: the same loss and the same choice of the step for all networks."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import sciml
from sciml.losses import MeanSquares, Regularised
from sciml.training import AbstractMonitor, KeepBest, LevenbergMarquardt

EVERY = {"adam": 50, "lm": 2}


class Stop(AbstractMonitor):
    """Ends a fit at the first look, after which everything is compiled."""

    every: int = 1

    def init(self, parameters):
        """No memory."""

    def update(self, memory, event):
        """Stops."""
        return None, True

    def finish(self, memory, parameters):
        """The parameters as they are."""
        return parameters


def residual(network, sample):
    """The error at one sample."""
    x, y = sample
    return jnp.reshape(network(x), ()) - y


def prepare(make, data, *, rate, adam=2000, lm=100):
    """Fits of the network `make(key)` with these numbers of steps, 0 for none, compiled.

    Four fifths of the samples train, and the rest choose the step. Parameters have a normal prior of size 1: in units
    of the noise `s` of `n` samples, the posterior is the mean of squares plus `s²/n` times the squares of parameters.
    """
    network = make(jr.key(int(data["seed"])))
    x, y, count = jnp.asarray(data["x"]), jnp.asarray(data["y"]), int(0.8 * len(data["x"]))
    train, held = (x[:count], y[:count]), (x[count:], y[count:])
    error = MeanSquares(residual)
    loss = Regularised(error, jnp.asarray(data["noise"] / count**0.5), lambda network: network)
    steps = {name: n for name, n in (("adam", adam), ("lm", lm)) if n}
    methods = {"adam": optax.adam(optax.cosine_decay_schedule(rate, max(adam, 1))), "lm": LevenbergMarquardt()}
    score = lambda network: error(network, held)
    size = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array)))

    def fit(name, *more):
        monitors = (KeepBest(score, every=EVERY[name]), *more)
        options = {"steps": steps[name], "key": jr.key(0), "monitor": monitors, "progress": False}
        return sciml.fit(network, loss, train, methods[name], **options).value

    def action(name):
        def act():
            y = jax.vmap(fit(name))(jnp.asarray(data["points"]))
            return {"y": np.asarray(y).reshape(-1), "size": np.asarray(size)}

        return act

    seconds = {}
    for name in steps:
        start = time.process_time()
        fit(name, Stop())
        seconds[name] = time.process_time() - start
    return {name: action(name) for name in steps}, seconds
