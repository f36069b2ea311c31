"""The question in numbers: sizes, plant, policy, cost and update. NumPy only, read by every contestant."""

import numpy as np

HORIZONS = (10, 50, 200, 1000)
BATCHES = (1, 32, 1000)

MU = 1.0  # Van der Pol: x1' = x2, x2' = mu (1 - x1^2) x2 - x1 + u
DT = 0.1  # one classical Runge-Kutta step of fourth order, input held
STATES, INPUTS = 2, 1

WIDTH = 64  # policy: two hidden layers, GELU (error function), u = LOWER + (UPPER - LOWER) sigmoid(.)
LOWER, UPPER = -5.0, 5.0

INPUT_WEIGHT = 0.1  # cost: mean of x^2 over lanes, N + 1 times and states, + 0.1 mean of u^2

CLIP = 1.0  # gradients: global norm at most CLIP, then AdamW
LEARNING_RATE = 1e-3
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
WEIGHT_DECAY = 0.01
UPDATES_COMPARED = 3  # the referee also compares the cost after this many updates


def instance(seed: int, batch: int) -> dict[str, np.ndarray]:
    """Float32 weights `W0, b0, ..., b2` (`W` is out x in, uniform within 1/sqrt(in)) and initial states `x0`."""
    rng = np.random.default_rng(seed)
    sizes = (STATES, WIDTH, WIDTH, INPUTS)
    arrays = {}
    for layer, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        bound = 1 / np.sqrt(fan_in)
        arrays[f"W{layer}"] = rng.uniform(-bound, bound, (fan_out, fan_in))
        arrays[f"b{layer}"] = rng.uniform(-bound, bound, (fan_out,))
    arrays["x0"] = np.clip(rng.standard_normal((batch, STATES)), -2.5, 2.5)
    return {name: value.astype(np.float32) for name, value in arrays.items()}
