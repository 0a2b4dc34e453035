"""Axes inside of axes, so that a picture of many parts fits wherever a Display is told to draw."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_cnn._compat import check_matplotlib_support


def own_axes(ax: Any, caller: str, width: float, height: float) -> Any:
    """Return the axes that were given, or those of a new figure.

    Parameters
    ----------
    ax : matplotlib Axes or None
    caller : str
        Whose ``plot`` this is, for the error where matplotlib is missing.
    width, height : float
        Of the new figure, in inches.
    """
    check_matplotlib_support(f"{caller}.plot")
    import matplotlib.pyplot as plt

    if ax is not None:
        return ax
    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def stack(ax: Any, heights: Sequence[float], gap: float) -> list[Any]:
    """Cut axes into panels, one below the other.

    Parameters
    ----------
    ax : matplotlib Axes
        It becomes the frame, and is not drawn itself.
    heights : sequence of float
        Of the panels, from the top; their ratios count.
    gap : float
        Between two panels, in the unit of the heights.

    Returns
    -------
    list of matplotlib Axes
    """
    ax.set_axis_off()
    total = sum(heights) + gap * (len(heights) - 1)
    panels, top = [], 1.0
    for height in heights:
        panels.append(ax.inset_axes((0, top - height / total, 1, height / total)))
        top -= (height + gap) / total
    return panels


def tile(ax: Any, n_tiles: int, n_columns: int, title: float = 0.0) -> list[Any]:
    """Cut axes into tiles without ticks, row by row.

    Parameters
    ----------
    ax : matplotlib Axes
        It becomes the frame, and is not drawn itself.
    n_tiles, n_columns : int
        How many, and how many in a row.
    title : float, default=0
        Share of a tile's height that is left free above it.

    Returns
    -------
    list of matplotlib Axes
    """
    ax.set_axis_off()
    n_rows = max(1, -(-n_tiles // n_columns))
    width, height = 1 / n_columns, 1 / n_rows
    tiles = []
    for i in range(n_tiles):
        row, column = divmod(i, n_columns)
        place = (column * width, 1 - (row + 1) * height)
        made = ax.inset_axes((*place, 0.94 * width, (0.94 - title) * height))
        made.set(xticks=[], yticks=[])
        tiles.append(made)
    return tiles


def image_style(style: dict[str, Any], im_kw: dict[str, Any] | None) -> dict[str, Any]:
    """Return the keywords of ``imshow``: those of the user go before those of a Display.

    A norm of the user's has limits of its own, and matplotlib takes no others beside it.
    """
    given = im_kw or {}
    limits = {"vmin", "vmax"} if given.get("norm") is not None else set()
    return {name: value for name, value in style.items() if name not in limits} | given


def as_array(items: Sequence[Any]) -> np.ndarray:
    """Return matplotlib objects as a one-dimensional array."""
    array = np.empty(len(items), dtype=object)
    array[:] = list(items)
    return array
