"""One measurement of `run.py`, in a process of its own: prints one line of JSON."""

import json
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from harness import environment

import sciml
from sciml.losses import FreeRun
from sciml.simulation import replay
from sciml.sources import cut, record, stack
from sciml.systems import LinearDiscrete, zoo
from sciml.systems.models import (
    Encoder,
    GreyBox,
    HammersteinWiener,
    LiquidTimeConstant,
    NeuralODE,
    Recurrent,
    Residual,
    Started,
    StateSpace,
)
from sciml.training import ensemble, LevenbergMarquardt


def cpu(function, *arguments):
    """CPU seconds of a call."""
    began = time.process_time()
    jax.block_until_ready(function(*arguments))
    return time.process_time() - began


def median(function, *arguments, times=7):
    """Of several calls after a first one."""
    return float(np.median([cpu(function, *arguments) for _ in range(times)]))


def ragged(part):
    """A batch of records of unequal length against a loop over them."""
    rng, plant = np.random.default_rng(0), zoo.VanDerPol()
    records = []
    for n in rng.integers(100, 300, 50):
        t = np.cumsum(rng.uniform(0.02, 0.1, n))
        records.append(record(np.zeros((n, 2)), rng.normal(size=n), t=t))
    data, x0 = stack(records), jnp.asarray(rng.normal(size=(50, 2)))
    batch = jax.jit(jax.vmap(lambda x0, r: replay(plant, x0, r).y))
    one = jax.jit(lambda x0, r: replay(plant, x0, r).y)
    padded = [jax.tree.map(lambda leaf, i=i: leaf[i], data) for i in range(50)]
    together = cpu(batch, x0, data)
    began = time.process_time()
    alone = [one(x0[i], r) for i, r in enumerate(records)]
    loop = time.process_time() - began
    ys = batch(x0, data)
    difference = max(float(jnp.max(jnp.abs(ys[i, : len(y)] - y))) for i, y in enumerate(alone))
    over = lambda: [one(x0[i], r) for i, r in enumerate(padded)]
    over()
    return {
        "with_compilation": loop / together, "compiled": median(over) / median(batch, x0, data),
        "difference": difference,
    }  # fmt: skip


def problem():
    """A record of a driven van der Pol oscillator, position measured, in windows."""
    rng = np.random.default_rng(1)
    inputs = record(np.zeros((300, 2)), np.repeat(rng.uniform(-1, 1, 30), 10), dt=0.1)
    y = replay(zoo.VanDerPol(), jnp.array([0.5, 0.0]), inputs).y
    return record(y[:, :1], inputs.u, dt=0.1), record(y, inputs.u, dt=0.1)


def state_space(key):
    """The model of many starts: two states, eight hidden units."""
    return Started(StateSpace(2, 1, 1, dt=0.1, width=8, key=key), Encoder(2, 1, 1, lag=5, width=0, key=key))


def starts(part):
    """64 starts beside one, the same number of iterations."""
    data = cut(problem()[0], length=65, stride=59)
    loss, steps = FreeRun(), 30
    keys = jr.split(jr.key(0), 64)

    @eqx.filter_jit
    def adam(models):
        method = optax.adam(1e-3)

        def fit(arrays, static):
            def step(carry, _):
                arrays, state = carry
                slope = jax.grad(lambda a: loss(eqx.combine(a, static), data))(arrays)
                updates, state = method.update(slope, state)
                return (optax.apply_updates(arrays, updates), state), None

            return jax.lax.scan(step, (arrays, method.init(arrays)), None, length=steps)[0][0]

        arrays, static = eqx.partition(models, eqx.is_inexact_array)
        return jax.vmap(lambda a: fit(a, static))(arrays)

    # No tolerance: every start takes all of its steps.
    method = LevenbergMarquardt(rtol=0.0, atol=0.0)
    lm = eqx.filter_jit(lambda models: ensemble(models, loss, data, method, steps=steps).stats.losses)
    run = adam if part == "Adam" else lm
    with jax.numpy_dtype_promotion("standard"):
        many, one = eqx.filter_vmap(state_space)(keys), eqx.filter_vmap(state_space)(keys[:1])
        first = cpu(run, many), cpu(run, one)
        return {
            "with_compilation": first[0] / first[1],
            "ratio": median(run, many, times=3) / median(run, one, times=5),
        }


def template(name):
    """A model and the data that it is fitted to."""
    hidden, whole = problem()
    key = jr.key(0)
    linear = LinearDiscrete(0.9 * np.eye(2), np.ones((2, 1)), np.ones((1, 2)), dt=0.1)
    encoder = Encoder(2, 1, 1, lag=5, key=key)

    def field(p, network, t, x, u):
        return jnp.stack([x[1], p["mu"] * (1 - x[0] ** 2) * x[1] - p["k"] * x[0] + u[0] + network(x)[0]])

    grey = GreyBox(field, {"mu": jnp.array(0.5), "k": jnp.array(0.8)}, eqx.nn.MLP(2, 1, 8, 1, key=key))
    blocks = dict(input_nonlinearity=Residual(1, key=key), output_nonlinearity=Residual(1, key=key))
    gru = Recurrent(eqx.nn.GRUCell(1, 8, key=key), 1, dt=0.1, key=key)
    liquid = LiquidTimeConstant(8, 1, 1, tau=0.5, key=key)
    made = {
        "neural ODE": (NeuralODE(2, 1, width=16, key=key), whole),
        "grey box": (grey, whole),
        "state space": (state_space(key), hidden),
        "Hammerstein-Wiener": (Started(HammersteinWiener(linear, **blocks), encoder), hidden),
        "GRU": (Started(gru, Encoder(8, 1, 1, lag=5, key=key)), hidden),
        "liquid time constant": (Started(liquid, Encoder(8, 1, 1, lag=5, key=key)), hidden),
        "linear": (Started(linear, encoder), hidden),
    }
    model, data = made[name]
    return model, cut(data, length=65, stride=59)


def first(part):
    """One step of each method."""
    model, data = template(part)
    step = lambda method: sciml.fit(model, FreeRun(), data, method, steps=1, key=jr.key(0), progress=False).state
    return {"adam": cpu(lambda: step(optax.adam(1e-3))), "lm": cpu(lambda: step(LevenbergMarquardt()))}


if __name__ == "__main__":
    question, part = sys.argv[1], sys.argv[2]
    found = {"ragged": ragged, "starts": starts, "first": first}[question](part)
    print(json.dumps({**found, "versions": environment.versions()}))
