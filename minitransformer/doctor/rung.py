"""A rung of the ladder: what is looked at, and what a failure usually means."""

from collections.abc import Callable
from functools import wraps

from minitransformer.doctor.diagnosis import Check, NotJudgedError
from minitransformer.doctor.patient import Patient
from minitransformer.doctor.raised import with_place

Look = Callable[[Patient], tuple[bool | None, str]]
RAISED = "the model is given other shapes, types or names than it was written for; look at the line in brackets."
"""What an exception usually means, whatever was looked at."""


def rung(name: str, means: str) -> Callable[[Look], Callable[[Patient], Check]]:
    """Name what a function looks at, and what a failure means; what the model raises is a failure of the first rung."""

    def decorate(look: Look) -> Callable[[Patient], Check]:
        @wraps(look)
        def check(patient: Patient) -> Check:
            try:
                return Check(name, *look(patient), means)
            except NotJudgedError as reason:
                return Check(name, None, f"not judged: {reason}", means)
            except (Exception, SystemExit) as error:
                raised = with_place(error)
                if raised in patient.raised:
                    return Check(name, None, f"not judged: it raised the same {type(error).__name__}", means)
                patient.raised.add(raised)
                return Check(name, False, f"it raised {raised}", RAISED)

        return check

    return decorate
