"""Policies with memory; a policy without memory is any function `(x, w) -> u`."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray


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
