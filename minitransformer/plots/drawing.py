"""What all pictures have in common: their colours, plain axes, and how they become files."""

import base64
import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2933"
FAINT = "#9aa5b1"
BLUE = "#2563ab"
ORANGE = "#d9731a"


def plain(axes: Axes) -> None:
    """Take away what tells nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, alpha=0.25)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def data_address(figure: Figure) -> str:
    """A figure as an address that holds the picture itself, so that a page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode("ascii")
