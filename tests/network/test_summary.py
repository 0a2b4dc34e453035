"""The table of layers as text, as a DataFrame and as HTML, for rows and times that are given."""

import re
from dataclasses import FrozenInstanceError
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from pandas.api.types import is_string_dtype

from sklearn_cnn.network.outputs import LayerRow
from sklearn_cnn.network.summary import NetworkSummary, html_table, table_lines

CONV = LayerRow("conv1", "Conv2d", (28, 28, 32), 320)
DENSE = LayerRow("dense1", "Linear", (128,), 1_234_567)
OUTPUT = LayerRow("output", "Linear", (10,), 1290)
SUMMARY = NetworkSummary([CONV, DENSE, OUTPUT], [8e-4, 1.5e-4, 5e-5], 1_236_177)

TWICE = LayerRow("network.act", "ReLU", (4,), 0), LayerRow("network.act", "ReLU", (2,), 0)
SHARED = LayerRow("network.both", "Linear", (4,), 20)


def test_text():
    """Catches columns that do not line up, and a rule as long as the total."""
    assert str(SUMMARY) == (
        "layer   kind    output        parameters  time\n"
        "----------------------------------------------\n"
        "conv1   Conv2d  28 x 28 x 32         320  80 %\n"
        "dense1  Linear  128            1,234,567  15 %\n"
        "output  Linear  10                 1,290   5 %\n"
        "----------------------------------------------\n"
        "total                          1,236,177  1 ms an image"
    )
    assert repr(SUMMARY) == str(SUMMARY)


def test_text_of_a_single_layer_that_takes_all_the_time():
    """Catches a column as narrow as its heading."""
    assert str(NetworkSummary([LayerRow("a", "b", (), 0)], [0.5], 0)) == (
        "layer  kind  output  parameters   time\n"
        "--------------------------------------\n"
        "a      b                      0  100 %\n"
        "--------------------------------------\n"
        "total                         0  500 ms an image"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (1.234e-5, "0.012 ms"),
        (9.96e-4, "1 ms"),
        (0.0125, "12 ms"),
        (0.0994, "99 ms"),
        (0.0996, "100 ms"),
        (0.1234, "123 ms"),
        (12.3456, "12,346 ms"),
    ],
)
def test_time_of_an_image_is_a_number_that_one_reads(seconds, text):
    """Catches 1.2e+02 ms, and digits that a measurement does not have."""
    assert str(NetworkSummary([CONV], [seconds], 320)).endswith(f" {text} an image")


def test_totals_and_shares():
    """Catches shares of something else than the sum."""
    assert SUMMARY.seconds_per_image == pytest.approx(1e-3, rel=1e-12)
    assert SUMMARY.time_shares == pytest.approx((0.8, 0.15, 0.05), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_shares_sum_to_one(seed):
    seconds = np.random.default_rng(seed).exponential(1e-5, 20).tolist()
    shares = NetworkSummary([CONV] * 20, seconds, 320).time_shares
    assert sum(shares) == pytest.approx(1, rel=1e-12)
    assert min(shares) >= 0


def test_a_clock_that_is_too_coarse():
    """Catches a division by zero."""
    assert NetworkSummary([CONV, OUTPUT], [0, 0], 1610).time_shares == (0, 0)


def test_a_layer_that_runs_twice_has_two_rows():
    """Catches shares that are mixed up."""
    summary = NetworkSummary([SHARED, TWICE[0], SHARED, TWICE[1]], [4e-6, 1e-6, 3e-6, 2e-6], 20)
    assert summary.time_shares == pytest.approx((0.4, 0.1, 0.3, 0.2), rel=1e-12)
    assert str(summary).count("network.both") == 2


def test_frame():
    """Catches numbers as text, rounded shares, and a total among the rows."""
    frame = SUMMARY.to_frame()
    assert list(frame) == [
        "layer", "kind", "output_shape", "n_parameters", "time_share", "seconds"
    ]  # fmt: skip
    assert frame["layer"].tolist() == ["conv1", "dense1", "output"]
    assert frame["kind"].tolist() == ["Conv2d", "Linear", "Linear"]
    assert frame["output_shape"].tolist() == [(28, 28, 32), (128,), (10,)]
    assert frame["n_parameters"].tolist() == [320, 1_234_567, 1290]
    assert frame["time_share"].tolist() == list(SUMMARY.time_shares)
    assert frame["seconds"].tolist() == [8e-4, 1.5e-4, 5e-5]
    assert is_string_dtype(frame["layer"])
    assert is_string_dtype(frame["kind"])
    assert frame["n_parameters"].dtype == np.int64
    assert frame["time_share"].dtype == frame["seconds"].dtype == np.float64
    pd.testing.assert_index_equal(frame.index, pd.RangeIndex(3))


class Cells(HTMLParser):
    """Reads the rows of a table, and refuses tags that do not close each other."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_html_holds_what_the_text_does():
    """Catches a cell that is missing in one of the two."""
    rows = Cells(SUMMARY._repr_html_()).rows
    assert rows == [
        ["layer", "kind", "output", "parameters", "time"],
        ["conv1", "Conv2d", "28 x 28 x 32", "320", "80 %"],
        ["dense1", "Linear", "128", "1,234,567", "15 %"],
        ["output", "Linear", "10", "1,290", "5 %"],
        ["total", "", "", "1,236,177", "1 ms an image"],
    ]
    words = re.sub(r"-{5,}", "", str(SUMMARY)).split()
    assert " ".join(cell for row in rows for cell in row).split() == words


def test_html_has_one_table_and_one_style():
    html = SUMMARY._repr_html_()
    assert html.count("<table") == html.count("<style>") == 1


def test_html_of_layers_that_were_not_timed():
    """Catches a total that is counted from the rows, and a column of times that are made up."""
    html = html_table(table_lines([CONV, OUTPUT], 1234))
    assert "<style>" not in html
    assert Cells(html).rows == [
        ["layer", "kind", "output", "parameters"],
        ["conv1", "Conv2d", "28 x 28 x 32", "320"],
        ["output", "Linear", "10", "1,290"],
        ["total", "", "", "1,234"],
    ]


def test_html_escapes_names():
    """Catches a user-defined name that becomes a tag, or ends an attribute."""
    odd = LayerRow('network.<b>&"', "<script>alert('x')</script>", (2,), 0)
    html = NetworkSummary([odd], [1.0], 0)._repr_html_()
    assert "<b>" not in html
    assert "<script>" not in html
    assert Cells(html).rows[1][:2] == [odd.name, odd.kind]
    assert "network.<b>" in str(NetworkSummary([odd], [1.0], 0))


def test_rows_and_times_go_together():
    """Catches rows that are dropped where there are fewer times."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        str(NetworkSummary([CONV, OUTPUT], [1.0], 1610))


def test_a_summary_is_a_value():
    """Catches one that changes after it was shown."""
    assert NetworkSummary((CONV,), (1.0,), 320) == NetworkSummary((CONV,), (1.0,), 320)
    with pytest.raises(FrozenInstanceError):
        SUMMARY.rows = ()
