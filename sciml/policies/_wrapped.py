"""What policies around policies share: memory, input and report of one with or without memory."""

from typing import Any

from jaxtyping import PRNGKeyArray

from sciml.core import AbstractPolicy, wrong_type


def check_policy(policy: Any) -> None:
    """Raise unless it is a policy."""
    if isinstance(policy, type) or not (callable(policy) or isinstance(policy, AbstractPolicy)):
        raise wrong_type("policy", repr(policy), "a function `(x, w) -> u`, or an `AbstractPolicy` object", "pass one")


def start(policy: Any, x0: Any, w: Any) -> Any:
    """The initial memory of a policy; None without memory."""
    return policy.init(x0, w) if isinstance(policy, AbstractPolicy) else None


def act(policy: Any, memory: Any, x: Any, w: Any, key: PRNGKeyArray | None) -> tuple[Any, Any]:
    """The input and the next memory."""
    if isinstance(policy, AbstractPolicy):
        return policy.step(memory, x, w, key=key)
    return policy(x, w), memory


def report_of(policy: Any, memory: Any) -> Any:
    """What the last step has to tell, or None."""
    return policy.report(memory) if isinstance(policy, AbstractPolicy) else None
