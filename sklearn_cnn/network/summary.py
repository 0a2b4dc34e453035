"""The summary of a network: a table of its layers, with the computing time of each.

The table is text, a DataFrame or HTML. Times are measured on a few blank images.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import torch
from torch import nn

from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.modules import copy_network
from sklearn_cnn.network.outputs import LayerRow, blank_images, innermost_modules

if TYPE_CHECKING:
    import pandas as pd

ROUNDS = 5
"""Number of timed passes, whose median is used, after one untimed pass."""

STYLE = """<style>
.sklearn-cnn-layers { border-collapse: collapse; font-family: monospace; color: inherit; }
.sklearn-cnn-layers :is(td, th) { padding: 0.3em 0.7em; text-align: left !important; }
.sklearn-cnn-layers :is(td, th) { border: 1px solid rgba(106, 105, 104, 0.25); }
.sklearn-cnn-layers .number { text-align: right !important; white-space: nowrap; }
.sklearn-cnn-layers .total td { font-weight: bold; }
.sk-global .sklearn-cnn-layers { margin: 0 auto !important; }
.sk-global .sklearn-cnn-layers tr:nth-child(odd) { background-color: #fff; }
.sk-global .sklearn-cnn-layers tr:nth-child(even) { background-color: #f6f6f6; }
</style>"""
"""For light and dark pages; white inside of scikit-learn's boxes, like its tables."""


@dataclass(frozen=True, repr=False)
class NetworkSummary:
    """One row per layer: its name, kind, output shape, parameters and share of the time.

    It is printed as a table, and shown as an HTML table in a notebook.

    Parameters
    ----------
    rows : sequence of LayerRow
        The layers, in the order of computation.
    seconds : sequence of float
        Prediction time of each layer for one image, in seconds.
    n_parameters : int
        Number of parameters of the whole network, including those that are in no row.
    n_trainable : int or None, default=None
        Number of trainable parameters; None for all.

    Attributes
    ----------
    seconds_per_image : float
        Time of all layers for one image, in seconds.
    time_shares : tuple of float
        Share of each layer in this time, between 0 and 1.

    Examples
    --------
    >>> from sklearn_cnn.network.summary import NetworkSummary
    >>> from sklearn_cnn.network.outputs import LayerRow
    >>> conv = LayerRow("conv1", "Conv2d", (8, 8, 16), 160)
    >>> output = LayerRow("output", "Linear", (10,), 650)
    >>> NetworkSummary([conv, output], [3e-5, 1e-5], n_parameters=810)
    layer   kind    output      parameters  time
    --------------------------------------------
    conv1   Conv2d  8 x 8 x 16         160  75 %
    output  Linear  10                 650  25 %
    --------------------------------------------
    total                              810  0.04 ms an image
    """

    rows: Sequence[LayerRow]
    seconds: Sequence[float]
    n_parameters: int
    n_trainable: int | None = None

    @property
    def seconds_per_image(self) -> float:
        """Add up the time of all layers."""
        return sum(self.seconds)

    @property
    def time_shares(self) -> tuple[float, ...]:
        """Compute the share of each layer."""
        total = self.seconds_per_image
        return tuple(seconds / total if total else 0.0 for seconds in self.seconds)

    def to_frame(self) -> "pd.DataFrame":
        """Return the rows as a DataFrame.

        Returns
        -------
        pandas.DataFrame
            DataFrame with the columns layer, kind, output_shape, n_parameters, time_share (between
            0 and 1) and seconds (for one image).

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=["layer", "kind", "output_shape", "n_parameters"])
        return frame.assign(time_share=self.time_shares, seconds=self.seconds)

    def _lines(self) -> list[tuple[str, ...]]:
        milliseconds = 1e3 * self.seconds_per_image
        digits = ".2g" if milliseconds < 99.5 else ",.0f"  # 120, not 1.2e+02
        shares = [f"{share:.0%}".replace("%", " %") for share in self.time_shares]
        times = ["time", *shares, f"{milliseconds:{digits}} ms an image"]
        lines = table_lines(self.rows, self.n_parameters, self.n_trainable)
        return [(*line, time) for line, time in zip(lines, times, strict=True)]

    def __repr__(self) -> str:
        """Write the table in columns."""
        lines = self._lines()
        *widths, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
        widths.append(max(len(line[-1]) for line in lines[:-1]))
        texts = []
        for line in lines:
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            for right in (3, 4):
                cells[right] = line[right].rjust(widths[right])
            texts.append("  ".join(cells).rstrip())
        rule = "-" * max(map(len, texts[:-1]))
        return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1]])

    def _repr_html_(self) -> str:
        """Write the table in HTML."""
        return f"{STYLE}{html_table(self._lines())}"


def table_lines(
    rows: Sequence[LayerRow], n_parameters: int, n_trainable: int | None = None
) -> list[tuple[str, ...]]:
    """Return the cells of the table's lines without times: heading, layers and total."""
    cells = [
        (row.name, row.kind, " x ".join(map(str, row.output_shape)), f"{row.n_parameters:,}")
        for row in rows
    ]
    heading = ("layer", "kind", "output", "parameters")
    some = n_trainable not in (None, n_parameters)
    trainable = f"{n_trainable:,} trainable" if some else ""
    return [heading, *cells, ("total", "", trainable, f"{n_parameters:,}")]


def layers_html(rows: Sequence[LayerRow], n_parameters: int, n_trainable: int | None = None) -> str:
    """Write the table without times in HTML, in the style of scikit-learn's tables."""
    table = html_table(table_lines(rows, n_parameters, n_trainable))
    return (
        f'{STYLE}<div class="estimator-table"><details open><summary>Layers</summary>'
        f"{table}</details></div>"
    )


def html_table(lines: Sequence[tuple[str, ...]]) -> str:
    """Write the lines in HTML, without a style: the first as heading, the last as total."""
    heading, *rows, total = lines
    body = "".join(f"<tr>{_html_cells(cells)}</tr>" for cells in rows)
    return (
        f'<table class="sklearn-cnn-layers"><tbody><tr>{_html_cells(heading, tag="th")}</tr>{body}'
        f'<tr class="total">{_html_cells(total)}</tr></tbody></table>'
    )


def layer_times(
    network: nn.Module, image_shape: tuple[int, int, int], n_images: int
) -> tuple[float, ...]:
    """Measure the prediction time of each innermost module, in one thread on a CPU.

    Parameters
    ----------
    network : torch.nn.Module
        A module that takes pixels of shape (n, channels, height, width).
    image_shape : tuple of int
        Height, width, channels.
    n_images : int
        Number of images per pass.

    Returns
    -------
    tuple of float
        Seconds for one image, in the order of computation.
    """
    device = next(network.buffers()).device
    starts: list[float] = []
    passes: list[list[float]] = []

    def start(*_: object) -> None:
        _wait(device)
        starts.append(time.perf_counter())

    def stop(_: nn.Module, __: object, output: object) -> None:
        _wait(device)
        seconds = time.perf_counter() - starts.pop()
        if isinstance(output, torch.Tensor):
            passes[-1].append(seconds / n_images)

    pixels = blank_images(n_images, image_shape, device)
    with isolated(device):
        copy = copy_network(network).eval()  # others may compute with the network at the same time
        for _, module in innermost_modules(copy):
            module.register_forward_pre_hook(start)
            module.register_forward_hook(stop)
        with torch.inference_mode():
            for _ in range(1 + ROUNDS):
                passes.append([])
                copy(pixels)
    return tuple(statistics.median(times) for times in zip(*passes[1:], strict=True))


def _html_cells(cells: Sequence[str], tag: str = "td") -> str:
    classes = ["", "", "", *[' class="number"'] * (len(cells) - 3)]
    return "".join(
        f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(classes, cells, strict=True)
    )


def _wait(device: torch.device) -> None:
    """Wait until a GPU has finished its computations."""
    if device.type != "cpu":
        module = getattr(torch, device.type)
        module.synchronize(*([] if device.type == "mps" else [device]))  # MPS is one device
