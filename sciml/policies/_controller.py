"""A policy run step by step from the host, as on a rig."""

import time
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import PRNGKeyArray

from sciml.core import as_arrays, as_floats, check_key, check_policy, invalid, policy_report, policy_start, policy_step


class Controller:
    """A policy as an object that is called once in each sampling period: `u = controller(x, w)`.

    It holds the memory of the policy between calls and compiles its step once. It is the one object of the library that
    changes: use it on the host, at the edge of a loop that is no JAX program (hardware, another simulator).

    Attributes:
        memory: the memory of the policy after the last call.
        report: what the policy told at the last call (`AbstractPolicy.report`), None before.
        seconds: how long the last call took, until the input was there.

    Examples:
        ```python
        controller = sciml.policies.Controller(lambda x, w: -0.5 * (x - w), jnp.zeros(1), jnp.ones(1))
        u = controller(jnp.zeros(1), jnp.ones(1))
        assert u.tolist() == [0.5]
        ```
    """

    def __init__(self, policy: Any, x0: Any, w: Any = None, *, key: PRNGKeyArray | None = None):
        """A controller for runs like one from `x0`; compiles the policy's step for the shapes of `x0` and `w`.

        Args:
            policy: an `AbstractPolicy`, or a function `(x, w) -> u`.
            x0: what is seen at the beginning of the run.
            w: the first exogenous signal (a reference, a window of `previews`), or None.
            key: for policies that draw; each call uses a new one.

        Raises:
            TypeError: a policy that is no function and no `AbstractPolicy`; a key that is none.
        """
        check_policy(policy)
        if key is not None:
            check_key(key)
        self._policy, self._key = policy, key
        self._like = jax.eval_shape(lambda: as_floats(x0, "x0"))
        self.reset(x0, w)
        x, w = as_floats(x0, "x0"), as_arrays(w)
        self._step = eqx.filter_jit(_step).lower(policy, self.memory, x, w, key).compile()

    def reset(self, x0: Any, w: Any = None) -> None:
        """Begin a new run at `x0`: the memory is as at the beginning."""
        self.memory = eqx.filter_jit(policy_start)(self._policy, as_floats(x0, "x0"), as_arrays(w))
        self.report: Any = None
        self.seconds: float | None = None

    def __call__(self, x: Any, w: Any = None) -> Any:
        """The input for what is seen now.

        Args:
            x: shaped like `x0`.
            w: shaped like the first signal.

        Raises:
            ValueError: an `x` of another structure or shape than `x0`.
        """
        begin = time.perf_counter()
        x, w = as_floats(x, "x"), as_arrays(w)
        got = jax.eval_shape(lambda: x)
        if got != self._like:
            fix = "make a controller for this kind of state"
            raise invalid("x", f"{got}", f"{self._like}, as `x0`", fix)
        key = None
        if self._key is not None:
            self._key, key = jr.split(self._key)
        u, self.memory, self.report = self._step(self._policy, self.memory, x, w, key)
        jax.block_until_ready(u)
        self.seconds = time.perf_counter() - begin
        return u


def _step(policy: Any, memory: Any, x: Any, w: Any, key: Any) -> tuple[Any, Any, Any]:
    """Input, memory and report of one step."""
    u, memory = policy_step(policy, memory, x, w, key)
    return u, memory, policy_report(policy, memory)
