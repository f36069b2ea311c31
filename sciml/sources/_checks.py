"""Checks that several sources share."""

from sciml.core import invalid


def at_least(argument: str, got: int, least: int) -> None:
    """Refuses a number below `least`."""
    if got < least:
        raise invalid(argument, got, f"an integer >= {least}", "count again")
