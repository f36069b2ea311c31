"""Checks that several sources share."""

from sciml.core import invalid


def at_least(argument: str, got: int, least: int) -> None:
    """Raises unless a number is at least `least`."""
    if got < least:
        raise invalid(argument, got, f"an integer >= {least}", "give a larger number")
