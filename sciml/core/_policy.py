"""Policies with memory; a policy without memory is any function `(x, w) -> u`."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from ._errors import wrong_type


class AbstractPolicy(eqx.Module):
    """A control policy with memory, for `rollout`; a policy without memory is a plain function `(x, w) -> u`."""

    @abstractmethod
    def init(self, x0: Any, w: Any) -> Any:
        """The initial memory of a run that starts at `x0`, with the first exogenous signal `w`."""

    @abstractmethod
    def step(self, state: Any, x: Any, w: Any, *, key: PRNGKeyArray | None) -> tuple[Any, Any]:
        """The input for the observed state `x` (or `observe(x)`) and the exogenous signal `w`, and the next memory."""

    def report(self, state: Any) -> Any:
        """What the last step has to tell (a solver's result, a filter's slack), from the memory after it; or None.

        `rollout` stacks it over the steps as `Trajectory.report`.
        """
        return None


def check_policy(policy: Any) -> None:
    """Raise unless it is a policy: a function `(x, w) -> u`, or an `AbstractPolicy` object."""
    if isinstance(policy, type) or not (callable(policy) or isinstance(policy, AbstractPolicy)):
        got = f"an array of shape {policy.shape}" if eqx.is_array(policy) else repr(policy)
        fix = "for known inputs `lambda x, w: w` with `exogenous=us`; for a system without input `lambda x, w: None`"
        raise wrong_type("policy", got, "a function `(x, w) -> u`, or an `AbstractPolicy` object", fix)


def policy_start(policy: Any, x0: Any, w: Any) -> Any:
    """The initial memory of a policy; None without memory."""
    return policy.init(x0, w) if isinstance(policy, AbstractPolicy) else None


def policy_step(policy: Any, memory: Any, x: Any, w: Any, key: PRNGKeyArray | None) -> tuple[Any, Any]:
    """The input and the next memory, of a policy with or without memory."""
    if isinstance(policy, AbstractPolicy):
        return policy.step(memory, x, w, key=key)
    return policy(x, w), memory


def policy_report(policy: Any, memory: Any) -> Any:
    """What the last step has to tell; None of a policy without memory."""
    return policy.report(memory) if isinstance(policy, AbstractPolicy) else None
