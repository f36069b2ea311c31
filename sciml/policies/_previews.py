"""Windows of future signals, for policies that see what is to come."""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu

from sciml.core import as_arrays, batch_size, invalid


def previews(signals: Any, horizon: int) -> Any:
    """At each step the signals of the next `horizon` steps, the present one first.

    `w[k]` of the result is `signals[k : k + horizon]`; beyond the end the last signal is repeated. Pass it to `rollout`
    as `exogenous`, so that a policy sees windows: a predictive controller whose problem has `exogenous=lambda p: p[1]`,
    or a network with a preview.

    Args:
        signals: references or disturbances, a pytree of arrays with a common leading axis of `steps`.
        horizon: length of the windows, >= 1.

    Returns:
        A pytree like `signals`, with leading axes `(steps, horizon)`.

    Raises:
        ValueError: `horizon < 1`, or leaves without a common leading axis.

    Examples:
        ```python
        windows = sciml.policies.previews(jnp.arange(4.0), 3)
        assert windows.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3]]
        ```
    """
    if horizon < 1:
        raise invalid("horizon", horizon, "an integer >= 1", "give the length of the window in steps")
    signals = as_arrays(signals)
    steps = batch_size(signals, "signals")
    at = jnp.minimum(jnp.arange(steps)[:, None] + jnp.arange(horizon)[None, :], steps - 1)
    return jtu.tree_map(lambda v: v[at], signals)
