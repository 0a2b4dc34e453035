"""What the tests of this folder share: a net that learns digits quickly, 750 digits, and a page."""

from pathlib import Path

import pytest
from sklearn.model_selection import train_test_split

PAGE = Path(__file__).parents[2] / "docs" / "meta_estimators.md"


@pytest.fixture
def quick(small):
    """A function that makes a net which learns 450 digits in a moment, to 0.9 and better."""

    def make(**parameters):
        return small(**{"max_epochs": 8, "learning_rate": 0.02, "batch_size": 32, **parameters})

    return make


@pytest.fixture(scope="session")
def split(digits):
    """X_train (450, 64), X_test (300, 64), y_train, y_test: flattened 8 x 8 digits, 0 to 16."""
    parts = train_test_split(
        digits.data, digits.target, train_size=450, test_size=300, random_state=0
    )
    for part in parts:
        part.flags.writeable = False
    return parts


@pytest.fixture(scope="session")
def page_table():
    """A function that reads the table below a heading of docs/meta_estimators.md.

    It gives a tuple of cells for each row, without the backticks around names.
    """

    def read(heading):
        text = PAGE.read_text(encoding="utf-8").replace("`", "")
        section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("|")]
        rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
        return rows[2:]  # without the header and the rule below it

    return read
