"""What somebody's code raised, in one line that says where."""

import sysconfig
import traceback
from pathlib import Path

LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
DOCTOR = Path(__file__).parent
LAWS = DOCTOR.with_name("laws")


def in_one_line(error: BaseException) -> str:
    """The type of an error, and the first line of its message.

    >>> in_one_line(ValueError("too long\\nby 3"))
    'ValueError: too long'
    """
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {(message.strip() or 'without a word').splitlines()[0]}"


def with_place(error: BaseException) -> str:
    """The same, and behind it the line of somebody's code that went wrong, if any of theirs was running."""
    place = place_of(error)
    return in_one_line(error) + (f" ({place})" if place else "")


def place_of(error: BaseException) -> str:
    """The last file and line on the way to an error that are no library's; nothing if there are none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_theirs(Path(frame.filename))]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def is_theirs(file: Path) -> bool:
    """Whether a file belongs neither to a library, nor to those who examine."""
    return file.is_file() and not any(file.is_relative_to(folder) for folder in (*LIBRARIES, DOCTOR, LAWS))
