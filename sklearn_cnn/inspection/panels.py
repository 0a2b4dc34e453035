"""Axes inside axes, so that a plot of many parts fits in any user-defined axes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_cnn._compat import check_matplotlib_support

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

BAR_WIDTH = 0.75  # inches of a colorbar with its tick labels and label


def own_axes(ax: "Axes | None", caller: str, width: float, height: float) -> "Axes":
    """Return the given axes, or those of a new figure of the given size in inches.

    ``caller`` is the name of the display, for the error if matplotlib is not installed.
    """
    check_matplotlib_support(f"{caller}.plot")
    import matplotlib.pyplot as plt

    if ax is None:
        # the layout fills the figure when it is drawn; until then, the edges give the axes' width
        edges = {"left": 0, "bottom": 0, "right": 1, "top": 1}
        _, ax = plt.subplots(figsize=(width, height), layout="constrained", gridspec_kw=edges)
    return ax


def stack(ax: "Axes", heights: Sequence[float], gap: float) -> list["Axes"]:
    """Divide axes into panels of the given heights, from the top, with gaps in the same unit."""
    ax.set_axis_off()
    total = sum(heights) + gap * (len(heights) - 1)
    panels, top = [], 1.0
    for height in heights:
        panels.append(ax.inset_axes((0, top - height / total, 1, height / total)))
        top -= (height + gap) / total
    return panels


def tile(ax: "Axes", n_tiles: int, n_columns: int, title: float = 0.0) -> list["Axes"]:
    """Divide axes into tiles without ticks, row by row.

    ``title`` is the fraction of a tile's height that is left free above it.
    """
    ax.set_axis_off()
    width, height = 1 / n_columns, 1 / max(1, -(-n_tiles // n_columns))
    places = (divmod(number, n_columns) for number in range(n_tiles))
    size = 0.94 * width, (0.94 - title) * height
    return [part(ax, column * width, 1 - (row + 1) * height, *size) for row, column in places]


def part(ax: "Axes", left: float, bottom: float, width: float, height: float) -> "Axes":
    """Return axes without ticks inside others, placed in fractions of their width and height."""
    made = ax.inset_axes((left, bottom, width, height))
    made.set(xticks=[], yticks=[])
    return made


def image_style(style: Mapping[str, object], im_kw: Mapping[str, object] | None) -> dict[str, Any]:
    """Return the keywords of ``imshow``: those of the user replace those of the display.

    A user-defined norm has its own limits, and matplotlib accepts no others with it.
    """
    given = im_kw or {}
    limits = {"vmin", "vmax"} if given.get("norm") is not None else set()
    return {name: value for name, value in style.items() if name not in limits} | dict(given)


def width_in_inches(ax: "Axes") -> float:
    """Return the width of axes before matplotlib's layout, which may change it slightly."""
    return float(ax.get_window_extent().width / ax.figure.dpi)


def letter_width(fontsize: float) -> float:
    """Return the width of a digit in inches; letters are narrower on average."""
    return 0.65 * fontsize / 72


def shorten(text: str, width: float, fontsize: float) -> str:
    """Omit the middle of a text that is wider than that many inches."""
    n_letters = max(8, int(width / letter_width(fontsize)))
    if len(text) <= n_letters:
        return text
    n_first = n_letters // 2
    return f"{text[:n_first]}…{text[len(text) - (n_letters - n_first - 1) :]}"


def set_title(ax: "Axes", title: str) -> None:
    """Write a title no wider than its axes, in a smaller font or with its middle omitted."""
    width, n_letters = width_in_inches(ax), max(map(len, title.split("\n")))
    size = min(10.0, max(7.0, 10 * width / (letter_width(10) * max(1, n_letters))))
    lines = [shorten(line, width, size) for line in title.split("\n")]
    ax.set_title("\n".join(lines), fontsize=size)


def bar_share(ax: "Axes") -> float:
    """Return the fraction of the width of axes that :func:`draw_bar` takes."""
    return min(BAR_WIDTH / width_in_inches(ax), 0.5)


def draw_bar(
    ax: "Axes", image: "AxesImage", label: str, height: float = 1.0, extend: str = "neither"
) -> None:
    """Draw the colorbar of an image inside axes, at the right, with its tick labels and label.

    matplotlib places it beside the axes, where its label may overlap the neighbours. ``height`` is
    a fraction of the axes' height; ``extend`` is that of ``Figure.colorbar``.
    """
    from matplotlib.colors import Normalize

    room = bar_share(ax)
    place = ax.inset_axes((1 - room, (1 - height) / 2, 0.15 * room, 0.95 * height))
    bar = ax.figure.colorbar(image, cax=place, extend=extend, format="%.2g")
    if type(image.norm) is Normalize:  # other norms have their own ticks
        bar.ax.locator_params(nbins=4)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def as_array(items: Sequence[object]) -> np.ndarray:
    """Return matplotlib objects as a one-dimensional array."""
    return np.fromiter(items, dtype=object, count=len(items))
