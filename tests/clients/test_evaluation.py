"""Reports, explanations, label errors, conformal sets and stores of other libraries."""

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pytest
import shap
import skore
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer
from mapie.classification import CrossConformalClassifier, SplitConformalClassifier
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from yellowbrick.classifier import ClassificationReport, ConfusionMatrix
from yellowbrick.model_selection import LearningCurve


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


def test_cleanlab_finds_wrong_labels(example):
    estimator, X, y = example
    wrong = y.copy()
    wrong[:3] = (wrong[:3] + 1) % 3
    proba = cross_val_predict(estimator, X, wrong, cv=3, method="predict_proba")
    assert find_label_issues(wrong, proba).shape == (60,)


def test_cleanlab_learns_without_them(example):
    estimator, X, y = example
    wrong = y.copy()
    wrong[:3] = (wrong[:3] + 1) % 3
    learning = CleanLearning(clone(estimator), cv_n_folds=2, seed=0)
    learning.fit(X, wrong)
    assert learning.get_label_issues().shape[0] == 60
    assert learning.predict(X).shape == y.shape


def test_mapie_prefit(example):
    estimator, X, y = example
    model = clone(estimator).fit(X[:30], y[:30])
    conformal = SplitConformalClassifier(model, confidence_level=0.8, prefit=True)
    labels, sets = conformal.conformalize(X[30:], y[30:]).predict_set(X)
    assert labels.shape == (60,)
    assert sets.shape[:2] == (60, 3)


def test_mapie_cross(example):
    estimator, X, y = example
    conformal = CrossConformalClassifier(clone(estimator), confidence_level=0.8, cv=2)
    conformal.fit_conformalize(X, y)
    assert conformal.predict_set(X)[1].shape[:2] == (60, 3)


def test_skore_report(example):
    estimator, X, y = example
    report = skore.EstimatorReport(
        clone(estimator), X_train=X[:40], y_train=y[:40], X_test=X[40:], y_test=y[40:]
    )
    assert report.metrics.summarize().frame().shape[0]
    assert report.metrics.confusion_matrix() is not None


def test_skore_cross_validation(example):
    estimator, X, y = example
    report = skore.CrossValidationReport(clone(estimator), X, y, splitter=2)
    assert report.metrics.summarize().frame().shape[0]


def test_mlflow_keeps_a_model(example, tmp_path, monkeypatch):
    estimator, X, y = example
    monkeypatch.chdir(tmp_path)
    model = clone(estimator).fit(X, y)
    # without pip_requirements, mlflow loads the model in another process, to see what it imports
    options = {"serialization_format": "cloudpickle", "pip_requirements": []}
    mlflow.sklearn.save_model(model, tmp_path / "model", **options)
    kept = mlflow.sklearn.load_model(str(tmp_path / "model"))
    assert np.array_equal(kept.predict(X), model.predict(X))


def test_mlflow_autolog(example, tmp_path, monkeypatch):
    """It follows scikit-learn's own classes, such as a pipeline."""
    estimator, X, y = example
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            make_pipeline(clone(estimator)).fit(X, y)
        kept = mlflow.get_run(run.info.run_id)
    finally:
        mlflow.sklearn.autolog(disable=True)
    assert "training_accuracy_score" in kept.data.metrics


def test_lime_of_an_image(examples):
    estimator, X, y = examples["4-D"]
    model = clone(estimator).fit(X, y)
    explanation = LimeImageExplainer(random_state=0).explain_instance(
        X[0], model.predict_proba, num_samples=20, top_labels=1
    )
    assert explanation.local_exp


def test_lime_of_rows(rows):
    estimator, X, y = rows
    model = clone(estimator).fit(X, y)
    explainer = LimeTabularExplainer(X, random_state=0)
    assert explainer.explain_instance(X[0], model.predict_proba, num_samples=50).as_list()


def test_shap_of_an_image(examples):
    estimator, X, y = examples["4-D"]
    model = clone(estimator).fit(X, y)
    masker = shap.maskers.Image(np.zeros(X[0].shape), X[0].shape)
    values = shap.Explainer(model.predict_proba, masker)(X[:1], max_evals=50)
    assert values.shape == (1, 8, 8, 3, 3)


def test_shap_of_rows(rows):
    estimator, X, y = rows
    model = clone(estimator).fit(X, y)
    values = shap.Explainer(model.predict_proba, X[:10])(X[:1], max_evals=150)
    assert values.shape == (1, 64, 3)
    kernel = shap.KernelExplainer(model.predict_proba, X[:5])
    assert kernel.shap_values(X[:1], nsamples=50, silent=True).shape == (1, 64, 3)


@pytest.mark.parametrize("visualizer", [ClassificationReport, ConfusionMatrix])
def test_yellowbrick_report(example, visualizer):
    """With force_model, since it takes no estimator of scikit-learn 1.9 for a classifier."""
    estimator, X, y = example
    drawn = visualizer(clone(estimator), force_model=True)
    drawn.fit(X, y)
    assert drawn.score(X, y) > 0.5
    drawn.finalize()


def test_yellowbrick_learning_curve(example):
    estimator, X, y = example
    curve = LearningCurve(clone(estimator), cv=2, train_sizes=[0.5, 1.0]).fit(X, y)
    assert curve.test_scores_mean_.shape == (2,)
