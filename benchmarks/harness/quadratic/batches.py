"""What the JAX contestants share: compiled actions on a batch of QPs, from a function for one instance."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from harness.timing import compile_ahead

NAMES = ("Q", "q", "A", "b", "G", "h")
DIMENSIONS = {"Q": 2, "q": 1, "A": 2, "b": 1, "G": 2, "h": 1}  # of one instance

DERIVATIVES = ("both", "backward", "backward_all")

Result = tuple[dict[str, Callable[[], Any]], dict[str, float]]


def split(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays that all instances share, and those with a leading batch axis."""
    arrays = {name: jax.numpy.asarray(data[name]) for name in NAMES}
    batched = {name: array for name, array in arrays.items() if array.ndim > DIMENSIONS[name]}
    return {name: array for name, array in arrays.items() if name not in batched}, batched


def forward(solution: Callable[[Any, Any], Any], shared: Any, batched: dict[str, Any]) -> Result:
    """`solution(shared, p) -> {"z", "eq", "ineq"}` for one instance, batched and compiled."""
    run, seconds = compile_ahead(jax.vmap(solution, in_axes=(None, 0)), shared, batched)
    return {"forward": run}, {"forward": seconds}


def backward(
    value: Callable[[Any, Any], Any], shared: Any, batched: dict[str, Any], weight: Any, names: Sequence[str]
) -> Result:
    """Derivatives of `sum(weight * value(shared, p))`: forward and backward at once; backward of a stored forward.

    `both` and `backward` are for `q` and `b` of each instance, `backward_all` for every array; `names` are the wanted.
    """
    weight = jax.numpy.asarray(weight)
    chosen = {name: batched[name] for name in ("q", "b")}
    fixed = {name: array for name, array in batched.items() if name not in chosen}

    def values(shared: Any, fixed: Any, chosen: Any) -> Any:
        return jax.vmap(lambda p: value(shared, p))({**fixed, **chosen})

    def few(shared: Any, fixed: Any, chosen: Any) -> Any:
        return jax.vjp(lambda p: values(shared, fixed, p), chosen)[1]

    def every(shared: Any, fixed: Any, chosen: Any) -> Any:
        return jax.vjp(lambda *arrays: values(*arrays), shared, fixed, chosen)[1]

    def at_once(shared: Any, fixed: Any, chosen: Any, weight: Any) -> Any:
        return few(shared, fixed, chosen)(weight)[0]

    actions, seconds = {}, {}
    if "both" in names:
        actions["both"], seconds["both"] = compile_ahead(at_once, shared, fixed, chosen, weight)
    for name, pulls in (("backward", few), ("backward_all", every)):
        if name not in names:
            continue
        pull = jax.block_until_ready(jax.jit(pulls)(shared, fixed, chosen))
        run, seconds[name] = compile_ahead(lambda pull, w: pull(w), pull, weight)
        actions[name] = lambda run=run: run()[-1]  # all are computed; `q` and `b` are returned
    return actions, seconds
