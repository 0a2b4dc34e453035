"""The digits that the tests of further training learn from."""

import pytest


@pytest.fixture
def images(digits):
    return digits.images[:200]


@pytest.fixture
def target(digits):
    return digits.target[:200]
