"""`eqx.nn.MLP` with tanh, on inputs that are mapped to [-1, 1] as those of the others."""

import equinox as eqx
import fits
import jax
import jax.numpy as jnp


class Scaled(eqx.Module):
    """A network behind the map from a box to [-1, 1]."""

    network: eqx.nn.MLP
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __call__(self, x):
        """The output at a point of the box."""
        low, high = jnp.asarray(self.lower, x.dtype), jnp.asarray(self.upper, x.dtype)
        return self.network((2 * x - low - high) / (high - low))


def build(case):
    """The network from a key."""
    make = lambda key: eqx.nn.MLP(len(case.LOWER), 1, activation=jax.nn.tanh, **case.MLP, key=key)
    return lambda key: Scaled(make(key), case.LOWER, case.UPPER)


def prepare(case, data):
    """Both fits."""
    return fits.prepare(build(case), data, rate=case.RATE)
