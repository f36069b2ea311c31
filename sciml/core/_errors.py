"""Errors at the public door: argument, got, expected, likely fix."""


def explain(argument: str, got: object, expected: object, fix: str) -> str:
    """One message in the form that every public error of this library has."""
    return f"`{argument}`: got {got}; expected {expected}. Likely fix: {fix}"


def invalid(argument: str, got: object, expected: object, fix: str) -> ValueError:
    """A `ValueError` to raise for a wrong value, shape or structure."""
    return ValueError(explain(argument, got, expected, fix))


def wrong_type(argument: str, got: object, expected: object, fix: str) -> TypeError:
    """A `TypeError` to raise for a wrong kind of object."""
    return TypeError(explain(argument, got, expected, fix))
