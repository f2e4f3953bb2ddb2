"""Errors that teach: they name the argument, its value, the rule it breaks and the remedy."""


class InputError(ValueError):
    """Something a user gave cannot be used; the message is one line that says what, why and what to do.

    >>> raise InputError("d_model=10 must be a multiple of n_heads=3; choose a width such as 9 or 12")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: d_model=10 must be a multiple of n_heads=3; choose a width such as 9 or 12
    """
