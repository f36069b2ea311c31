"""Failures that raise, with `throw=True`: afresh every time, with the instances that failed."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ._results import is_successful, message, RESULTS

_SHOWN = 5  # instances that a message lists


def checked(tree: Any, result: RESULTS, causes: Mapping[str, str] | None = None) -> Any:
    """`tree` where `result` is a success; where it is not, an error is raised that says why and how to go on.

    Outside of `jit` and `vmap` it is an `equinox.EquinoxRuntimeError` with a stack of its own. (`equinox.error_if`
    shows the stack of the first failure of a session for ever: it is compiled into a cached program.) Under `jit` the
    device calls back to the host, and JAX wraps the message in an error of its own class; under `vmap` it names how
    many instances failed, and which.

    Args:
        tree: any pytree with at least one array.
        result: its outcome.
        causes: texts by the name of the `RESULTS` member, in the place of the member's own, where the caller can say
            more than the member does.

    Gradient: that of `tree`.
    """
    causes = {} if causes is None else dict(causes)
    value = result._value
    if not isinstance(value, Tracer):
        text = explain_failures(np.asarray(value), causes)
        if text:
            raise eqx.EquinoxRuntimeError(text)
        return tree
    arrays, rest = eqx.partition(tree, eqx.is_array)
    failed = eqxi.unvmap_any(~is_successful(result))
    return eqx.combine(_raise_if(arrays, failed, jax.lax.stop_gradient(value), causes=causes), rest)


def explain_failures(values: np.ndarray, causes: Mapping[str, str]) -> str:
    """The message for outcomes of any shape, by number; empty if all are successes."""
    names = {int(getattr(RESULTS, name)._value): name for name in RESULTS._name_to_item}
    texts = {number: causes.get(name, message(getattr(RESULTS, name))) for number, name in names.items()}
    success = int(np.asarray(RESULTS.successful._value))
    values = np.squeeze(values)
    failed = np.argwhere(values != success)
    if not failed.shape[0]:
        return ""
    if values.ndim == 0:
        number = int(values)
        return (
            f"{texts[number]} (`RESULTS.{names[number]}`; with `throw=False` it is the `result`, and nothing raises.)"
        )
    at = [str(int(i[0])) if i.size == 1 else str(tuple(int(k) for k in i)) for i in failed[:_SHOWN]]
    more = ", ..." if failed.shape[0] > _SHOWN else ""
    lines = [f"{failed.shape[0]} of {values.size} instances failed, at index {', '.join(at)}{more}:"]
    kinds, counts = np.unique(values[values != success], return_counts=True)
    for number, count in sorted(zip(kinds.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]):
        lines.append(f"  {count} `RESULTS.{names[number]}`: {texts[number]}")
    lines.append("With `throw=False` nothing raises, and every instance has a `result`: under `vmap` pass that.")
    return "\n".join(lines)


# A custom rule keeps the branch out of derivatives, as `equinox.error_if` does.
@eqx.filter_custom_jvp
def _raise_if(arrays: Any, failed: Array, values: Array, *, causes: dict[str, str]) -> Any:
    like = jax.eval_shape(lambda: arrays)

    def fail(values: Any) -> Any:
        raise eqx.EquinoxRuntimeError(explain_failures(np.asarray(values), causes))

    def call() -> Any:
        return jax.pure_callback(fail, like, values, vmap_method="expand_dims")

    return jax.lax.cond(failed, call, lambda: arrays)


@_raise_if.def_jvp
def _raise_if_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...], *, causes: dict[str, str]) -> Any:
    arrays, failed, values = primals
    return _raise_if(arrays, failed, values, causes=causes), tangents[0]
