"""What other libraries refuse or leave out, each shown with another estimator too.

A test that fails here says that the library has changed: then the way around goes.
"""

import mlflow
import numpy as np
import pytest
from imblearn.ensemble import BalancedBaggingClassifier
from imblearn.over_sampling import RandomOverSampler
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from yellowbrick.classifier import ClassificationReport
from yellowbrick.exceptions import YellowbrickTypeError

REFUSED = r"Found array with dim \d|Expected 2D array, got 1D array"


@pytest.mark.parametrize("kind", ["3-D", "4-D", "paths"])
def test_imblearn_takes_rows_alone(examples, kind):
    """DummyClassifier takes any X. Way around: rows with image_shape, or a column of paths."""
    estimator, X, y = examples[kind]
    DummyClassifier().fit(X, y)
    with pytest.raises(ValueError, match=REFUSED):
        RandomOverSampler().fit_resample(X, y)
    for inside in (DummyClassifier(), estimator):
        with pytest.raises(ValueError, match=REFUSED):
            BalancedBaggingClassifier(clone(inside), n_estimators=1).fit(X, y)


def test_yellowbrick_knows_no_classifier_of_scikit_learn_1_9(rows):
    """It asks for an attribute that tags have replaced. Way around: force_model=True."""
    estimator, _, _ = rows
    for inside in (LogisticRegression(), estimator):
        with pytest.raises(YellowbrickTypeError, match="not a classifier"):
            ClassificationReport(clone(inside))


class Own(ClassifierMixin, BaseEstimator):
    """A classifier that is not in scikit-learn."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.resize(self.classes_, len(X))


def test_mlflow_logs_no_estimator_from_outside_of_scikit_learn(rows, tmp_path, monkeypatch):
    """It replaces the fit of scikit-learn's own classes. Way around: make_pipeline(estimator)."""
    monkeypatch.chdir(tmp_path)
    estimator, X, y = rows
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.sklearn.autolog(log_models=False)
    try:
        for inside in (Own(), clone(estimator)):
            with mlflow.start_run() as run:
                inside.fit(X, y)
            assert mlflow.get_run(run.info.run_id).data.metrics == {}
    finally:
        mlflow.sklearn.autolog(disable=True)
