"""What a notebook draws of a fitted estimator: the table of its layers, once, in any version."""

import re
from html import unescape

import numpy as np
import pytest
import sklearn
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_html_repr
from sklearn.utils.fixes import parse_version
from torch import nn

from sklearn_cnn._compat import FittedHTMLMixin

DRAWS_ATTRIBUTES = parse_version(sklearn.__version__) >= parse_version("1.9")
"""Whether scikit-learn draws the fitted attributes, of the parts of a pipeline too."""

TABLE = re.compile(r'<table class="sklearn-cnn-layers">(.*?)</table>', re.DOTALL)


def layer_rows(html):
    """The cells of the only table of layers, row by row."""
    (table,) = TABLE.findall(html)
    rows = re.findall(r"<tr.*?>(.*?)</tr>", table)
    return [
        [unescape(cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)] for row in rows
    ]


@pytest.fixture
def fitted(small, bars):
    return small(max_epochs=1).fit(*bars)


def mimebundle(model):
    bundle = model._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(model)
    return bundle["text/html"]


@pytest.mark.parametrize("draw", [lambda model: model._repr_html_(), mimebundle])
def test_a_fitted_estimator_shows_its_layers_once(fitted, draw):
    """Catches a table that is drawn twice or left out, and rows that are not those of layers_."""
    before = dict(vars(fitted))
    html = draw(fitted)
    heading, *rows, total = layer_rows(html)
    assert heading == ["layer", "kind", "output", "parameters"]
    assert rows == [
        ["normalize", "Normalize", "8 x 6 x 1", "0"],
        ["conv1", "Conv2d", "8 x 6 x 8", "72"],
        ["pool1", "MaxPool2d", "4 x 3 x 8", "0"],
        ["norm1", "BatchNorm2d", "4 x 3 x 8", "16"],
        ["activation1", "ReLU", "4 x 3 x 8", "0"],
        ["flatten", "Flatten", "96", "0"],
        ["dense1", "Linear", "16", "1,552"],
        ["activation2", "ReLU", "16", "0"],
        ["output", "Linear", "2", "34"],
    ]
    assert total == ["total", "", "", "1,674"]
    assert html.count("<summary>Layers</summary>") == 1
    assert html.index("sk-top-container") < html.index("<summary>Layers</summary>")
    assert html.count("<details") == html.count("</details>")
    assert vars(fitted) == before


@pytest.mark.parametrize("draw", [lambda model: model._repr_html_(), mimebundle])
def test_an_estimator_that_is_not_fitted_shows_none(small, draw):
    """Catches a NotFittedError in place of a drawing."""
    assert "sklearn-cnn-layers" not in draw(small())


def test_text_is_what_the_user_may_choose(fitted):
    """Catches a table where scikit-learn is told to draw nothing."""
    with config_context(display="text"):
        assert not hasattr(fitted, "_repr_html_")
        assert fitted._repr_mimebundle_() == {"text/plain": repr(fitted)}


IDS = re.compile(r"sk-(container|estimator)-id-\d+")
"""What scikit-learn counts up at each display."""


def test_two_displays_are_equal_and_neither_runs_the_network(small, bars, monkeypatch):
    """Catches a network that is run, or timed, whenever a notebook shows the estimator, a pipeline
    or a search; and ``repr``, ``str`` and ``dir``, which consoles call as freely."""
    images, y = bars
    net = small(max_epochs=1)
    models = [
        net.fit(images, y),
        make_pipeline(FunctionTransformer(), clone(net)).fit(images, y),
        GridSearchCV(net, {"pooling": ["max"]}, cv=2).fit(images, y),
    ]
    calls = []
    monkeypatch.setattr(nn.Module, "__call__", lambda *_: calls.append("ran"))
    for model in models:
        for draw in (lambda model: model._repr_html_(), mimebundle, repr, str, dir):
            first, second = (str(draw(model)) for _ in range(2))
            assert IDS.sub("", first) == IDS.sub("", second)
            assert calls == []
    assert layer_rows(models[0]._repr_html_())[1][0] == "normalize"


def flat(images):
    """Make rows of the images."""
    return np.reshape(images, (len(images), -1))


@pytest.mark.parametrize(
    ("wrap", "draws_fitted"),
    [
        (lambda net: make_pipeline(FunctionTransformer(), net), True),
        (lambda net: ColumnTransformer([("net", net, list(range(48)))]), True),
        (lambda net: GridSearchCV(net, {"pooling": ["max"]}, cv=2), True),
        (lambda net: VotingClassifier([("net", net)]), False),
        (
            lambda net: StackingClassifier(
                [("net", net)], LogisticRegression(solver="liblinear"), cv=2
            ),
            False,
        ),
        (lambda net: BaggingClassifier(net, n_estimators=1), False),
    ],
    ids=["Pipeline", "ColumnTransformer", "GridSearchCV", "Voting", "Stacking", "Bagging"],
)
def test_around_the_estimator(small, bars, wrap, draws_fitted):
    """scikit-learn draws the part that was trained, or the one that it was made of. Catches a
    NotFittedError on the latter, which is drawn as part of something fitted."""
    images, y = bars
    model = wrap(small(max_epochs=1)).fit(flat(images), y)
    n_tables = 1 if draws_fitted and DRAWS_ATTRIBUTES else 0
    for html in (model._repr_html_(), mimebundle(model), estimator_html_repr(model)):
        assert len(TABLE.findall(html)) == n_tables


class Odd(nn.Sequential):
    """Names that a page must not take for tags."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.add_module("<odd>", type("<strange>&", (nn.ReLU,), {})())
        self.add_module("flatten", nn.Flatten())
        self.add_module("last", nn.Linear(48, n_outputs))


def test_names_of_the_users_are_escaped(small, bars):
    """Catches markup of the user's in the page of a notebook."""
    html = small(layers=Odd, max_epochs=1).fit(*bars)._repr_html_()
    assert "<odd>" not in html
    assert "<strange>" not in html
    assert layer_rows(html)[2][:2] == ["network.<odd>", "<strange>&"]


class OlderEstimator:
    """Draws itself as scikit-learn 1.6 to 1.8 does, without a table of fitted attributes."""

    display = "diagram"

    @property
    def _repr_html_(self):
        return self._repr_html_inner

    def _repr_html_inner(self):
        return "<div>diagram</div>"

    def _repr_mimebundle_(self, **kwargs):
        output = {"text/plain": "Net()"}
        if self.display == "diagram":
            output["text/html"] = "<div>diagram</div>"
        return output


class NewerEstimator(OlderEstimator):
    """Draws fitted attributes within the diagram, as scikit-learn does since 1.9."""

    def _repr_html_inner(self):
        return f"<div>diagram {self._get_fitted_attr_html('link')._repr_html_inner()}</div>"

    def _get_fitted_attr_html(self, doc_link=""):
        return Attributes(doc_link)


class Attributes(dict):
    """Draws itself."""

    def __init__(self, doc_link):
        super().__init__()
        self.doc_link = doc_link

    def _repr_html_inner(self):
        return f"attributes {self.doc_link}"


class Table:
    """What the estimator adds, for both."""

    def _fitted_html(self):
        return "<table>"


class Older(Table, FittedHTMLMixin, OlderEstimator):
    """As CNNClassifier with scikit-learn 1.8."""


class Newer(Table, FittedHTMLMixin, NewerEstimator):
    """As CNNClassifier with scikit-learn 1.9."""


def test_below_the_diagram_in_older_versions():
    """Catches a table that only the version of the developer shows."""
    model = Older()
    assert model._repr_html_() == "<div>diagram</div>"
    assert model._repr_mimebundle_()["text/html"] == "<div>diagram</div>"
    model.classes_ = [0, 1]
    assert model._repr_html_() == "<div>diagram</div><table>"
    assert model._repr_mimebundle_(include=None) == {
        "text/plain": "Net()",
        "text/html": "<div>diagram</div><table>",
    }
    model.display = "text"
    assert model._repr_mimebundle_() == {"text/plain": "Net()"}


def test_with_the_fitted_attributes_in_newer_versions():
    """Catches a table within the diagram and another one below."""
    model = Newer()
    assert model._repr_html_() == "<div>diagram attributes link</div>"
    model.classes_ = [0, 1]
    assert model._repr_html_() == "<div>diagram <table>attributes link</div>"
    assert model._repr_mimebundle_()["text/html"] == "<div>diagram</div>"
