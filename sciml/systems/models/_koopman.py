"""Koopman models: a nonlinear lifting of the outputs, linear dynamics that cannot blow up, and a readout."""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from sciml.core import invalid
from sciml.sources import Record

from .._abstract import AbstractDiscreteSystem
from .._parameters import positive_scalar
from ._libraries import AbstractLibrary
from ._networks import zero_network
from ._starts import AbstractStart, Started


class Lifted(AbstractStart):
    """The initial state `ψ(y[lag])`: the observables of the first measurement, for `training.edmd` and Koopman models.

    Args:
        library: `ψ`, called without inputs.
        lag: the sample at which the run begins.
    """

    library: AbstractLibrary
    lag: int = eqx.field(static=True)

    def __init__(self, library: AbstractLibrary, *, lag: int = 0):
        """The observables and where to begin."""
        self.library, self.lag = library, lag

    def __call__(self, record: Record) -> Float[Array, " state"]:
        """The observables of sample `lag`."""
        return self.library(record.y[self.lag], None)

    def is_known(self, record: Record) -> Bool[Array, ""]:
        """Whether sample `lag` was measured in all channels."""
        return jnp.all(record.is_measured[self.lag])


class Learned(AbstractLibrary):
    """Learned observables `ψ(y) = W y + N(y)`; the network `N` starts as zero."""

    W: Float[Array, "term y"]
    network: Callable[[Array], Array]

    def __call__(self, x: Float[Array, " y"], u: Float[Array, " u"] | None) -> Float[Array, " term"]:
        """The observables; inputs do not enter."""
        return self.W @ x + self.network(x)

    def names(self, x: Sequence[str], u: Sequence[str]) -> tuple[str, ...]:
        """`ψ0, ψ1, ...`."""
        return tuple(f"ψ{i}" for i in range(self.W.shape[0]))


class Koopman(AbstractDiscreteSystem):
    """`z⁺ = K z + B u + b(u)`, `y = C z + g(z)`, with the eigenvalues of `K` in the unit circle by construction.

    `K` consists of scaled rotations `ρ [[cos α, -sin α], [sin α, cos α]]`, `ρ = sigmoid(decay)`: the real normal form
    of a matrix with eigenvalues `ρ exp(±iα)` in pairs (a real eigenvalue takes two states), and normal, so that `‖K z‖
    <= max ρ ‖z‖`: without input no run grows, whatever the parameters and however long. `koopman` makes one with its
    encoder.

    Source: Lusch, Kutz and Brunton (2018), Deep learning for universal linear embeddings of nonlinear dynamics, Nat.
    Commun. 9, 4950 (there with eigenvalues that depend on the state), doi:10.1038/s41467-018-07210-0.
    """

    decay: Float[Array, " pair"]
    angle: Float[Array, " pair"]
    B: Float[Array, "state input"]
    C: Float[Array, "output state"]
    b: Callable[[Array], Array] | None
    g: Callable[[Array], Array] | None
    dt: Float[Array, ""]

    def step(self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"] | None) -> Float[Array, " state"]:
        """The latent state one sample later."""
        rho = jax.nn.sigmoid(self.decay)
        c, s = rho * jnp.cos(self.angle), rho * jnp.sin(self.angle)
        first, second = x[: c.size], x[c.size :]
        x = jnp.concatenate([c * first - s * second, s * first + c * second])
        x = x if u is None else x + self.B @ u
        return x if u is None or self.b is None else x + self.b(u)

    def output(
        self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"] | None
    ) -> Float[Array, " output"]:
        """The output of this sample."""
        return self.C @ x if self.g is None else self.C @ x + self.g(x)

    def input_shape(self) -> tuple[int, ...] | None:
        """`(input,)`; None without inputs."""
        return (self.B.shape[1],) if self.B.shape[1] else None

    def eigenvalues(self) -> Array:
        """Those of `K`, each with its conjugate; at most one in absolute value."""
        rho = jax.nn.sigmoid(self.decay)
        values = jax.lax.complex(rho * jnp.cos(self.angle), rho * jnp.sin(self.angle))
        return jnp.concatenate([values, jnp.conj(values)])


def koopman(
    output_size: int,
    latent_size: int,
    input_size: int = 0,
    *,
    dt: ArrayLike,
    width: int = 32,
    depth: int = 2,
    has_input_network: bool = False,
    has_output_network: bool = True,
    fastest: float = 1.0,
    activation: Callable[[Array], Array] = jax.nn.tanh,
    key: PRNGKeyArray,
) -> Started:
    """A deep Koopman model with its encoder: `Started(Koopman, Lifted(Learned))`, fitted by `losses.KoopmanErrors`.

    Choose it for predictions and control of a nonlinear system by linear dynamics, when a library for `training.edmd`
    is not at hand. All networks start as zero, so that training begins at a linear model.

    Args:
        output_size: number of outputs, all states of the system.
        latent_size: number of latent states, even, >= 2.
        input_size: number of inputs.
        dt: sampling time in the unit of the records.
        width, depth: of the hidden layers of encoder and decoder.
        has_input_network: whether inputs pass through a network beside `B u`.
        has_output_network: whether the decoder has a network beside `C z`; linear decoders suit predictive control.
        fastest: largest initial rotation per sample, rad, in (0, π]. For an oscillator about twice its own, as seen in
            the records: from far above, fits end in poor minima.
        activation: of the hidden layers.
        key: of the initial weights.

    Raises:
        ValueError: an odd `latent_size`, sizes that are not positive, or `fastest` out of range.

    Examples:
        ```python
        from sciml.systems.models import koopman

        model = koopman(2, 8, dt=0.1, key=jax.random.key(0))
        assert jnp.all(jnp.abs(model.system.eigenvalues()) <= 1)
        ```
    """
    if latent_size < 2 or latent_size % 2:
        raise invalid("latent_size", latent_size, "an even number >= 2", "latent states come in rotating pairs")
    if output_size < 1 or input_size < 0:
        got = f"output_size = {output_size}, input_size = {input_size}"
        raise invalid("output_size, input_size", got, ">= 1 and >= 0", "count the channels of the records")
    if not 0 < fastest <= math.pi:
        fix = "give an angle per sample: faster rotations cannot be told from slower ones"
        raise invalid("fastest", fastest, "0 < fastest <= π", fix)
    pairs, n = latent_size // 2, latent_size
    kw, kb, kc, ke, kd, ku = jr.split(key, 6)
    encoder = Learned(
        jr.normal(kw, (n, output_size)) / output_size**0.5,
        zero_network(output_size, n, width, depth, activation, ke),
    )
    system = Koopman(
        decay=jnp.full(pairs, 4.0),  # ρ = 0.982
        angle=jnp.linspace(0.0, fastest, pairs),
        B=jr.normal(kb, (n, input_size)) / max(input_size, 1) ** 0.5,
        C=jr.normal(kc, (output_size, n)) / n**0.5,
        b=zero_network(input_size, n, width, depth, activation, ku) if has_input_network and input_size else None,
        g=zero_network(n, output_size, width, depth, activation, kd) if has_output_network else None,
        dt=positive_scalar(dt, "dt", "give the sampling time in the unit of the records"),
    )
    return Started(system, Lifted(encoder))
