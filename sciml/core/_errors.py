"""Errors of public functions, in one form: argument, got, expected, likely fix."""


def explain(argument: str, got: object, expected: object, fix: str) -> str:
    """The text of an error: argument, got, expected, likely fix; all errors of the library have this form."""
    return f"`{argument}`: got {got}; expected {expected}. Likely fix: {fix}"


def invalid(argument: str, got: object, expected: object, fix: str) -> ValueError:
    """A `ValueError` for a wrong value, shape or structure, to be raised by the caller."""
    return ValueError(explain(argument, got, expected, fix))


def wrong_type(argument: str, got: object, expected: object, fix: str) -> TypeError:
    """A `TypeError` for an object of the wrong type, to be raised by the caller."""
    return TypeError(explain(argument, got, expected, fix))
