"""Searches, resampling and ensembles of other libraries."""

import joblib
import numpy as np
import optuna
import pytest
from dask.distributed import Client
from dask_ml.model_selection import GridSearchCV as DaskGridSearchCV
from dask_ml.wrappers import ParallelPostFit
from imblearn.ensemble import BalancedBaggingClassifier
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from mlxtend.classifier import EnsembleVoteClassifier, StackingCVClassifier
from mlxtend.evaluate import bias_variance_decomp
from mlxtend.feature_selection import SequentialFeatureSelector
from optuna_integration import OptunaSearchCV, SkorchPruningCallback
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from skopt import BayesSearchCV

optuna.logging.set_verbosity(optuna.logging.ERROR)


def parameter(estimator, name):
    return f"cnnclassifier__{name}" if hasattr(estimator, "steps") else name


def test_optuna_study(example):
    estimator, X, y = example

    def objective(trial):
        rate = trial.suggest_float("rate", 1e-3, 1e-2, log=True)
        model = clone(estimator).set_params(**{parameter(estimator, "learning_rate"): rate})
        return cross_val_score(model, X, y, cv=2).mean()

    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=2)
    assert study.best_value > 0.5


def test_optuna_prunes_by_a_callback(example):
    estimator, X, y = example

    def objective(trial):
        callback = SkorchPruningCallback(trial, "train_loss")
        model = clone(estimator).set_params(**{parameter(estimator, "callbacks"): [callback]})
        model.fit(X, y)
        return model.score(X, y)

    study = optuna.create_study(
        direction="minimize", pruner=optuna.pruners.ThresholdPruner(upper=1e-9)
    )
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state == optuna.trial.TrialState.PRUNED
    assert study.trials[0].intermediate_values


def test_optuna_search(example):
    estimator, X, y = example
    space = {parameter(estimator, "dropout"): optuna.distributions.FloatDistribution(0, 0.3)}
    search = OptunaSearchCV(estimator, space, cv=2, n_trials=2, random_state=0).fit(X, y)
    assert search.best_score_ > 0.5
    assert search.predict(X).shape == y.shape


def test_scikit_optimize(example):
    estimator, X, y = example
    search = BayesSearchCV(
        estimator, {parameter(estimator, "dropout"): (0.0, 0.3)}, n_iter=2, cv=2, random_state=0
    ).fit(X, y)
    assert search.best_score_ > 0.5


@pytest.fixture(scope="module")
def cluster():
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as c:
        yield c


def test_dask_runs_a_search(example, cluster):
    estimator, X, y = example
    grid = {parameter(estimator, "dropout"): [0.0, 0.2]}
    expected = GridSearchCV(estimator, grid, cv=2).fit(X, y)
    with joblib.parallel_config("dask"):
        search = GridSearchCV(estimator, grid, cv=2).fit(X, y)
    assert (
        search.cv_results_["mean_test_score"].tolist()
        == expected.cv_results_["mean_test_score"].tolist()
    )


def test_dask_ml_search(example, cluster):
    estimator, X, y = example
    grid = {parameter(estimator, "dropout"): [0.0, 0.2]}
    search = DaskGridSearchCV(estimator, grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.5


def test_dask_ml_predicts_in_blocks(example):
    estimator, X, y = example
    wrapped = ParallelPostFit(clone(estimator)).fit(X, y)
    assert np.array_equal(wrapped.predict(X), clone(estimator).fit(X, y).predict(X))


def test_imblearn_oversampling_of_rows(rows):
    estimator, X, y = rows
    keep = np.flatnonzero((y != 2) | (np.arange(60) < 20))
    model = make_imblearn_pipeline(RandomOverSampler(random_state=0), estimator)
    model.fit(X[keep], y[keep])
    assert model.predict(X).shape == y.shape


def test_imblearn_oversampling_of_a_column_of_paths(examples):
    estimator, X, y = examples["paths"]
    model = make_imblearn_pipeline(RandomOverSampler(random_state=0), *clone(estimator))
    assert model.fit(X[5:, np.newaxis], y[5:]).predict(X[:, np.newaxis]).shape == y.shape


def test_imblearn_bagging(rows):
    estimator, X, y = rows
    model = BalancedBaggingClassifier(estimator, n_estimators=2, random_state=0).fit(X, y)
    assert model.predict_proba(X).shape == (60, 3)


def test_mlxtend_vote(example):
    estimator, X, y = example
    vote = EnsembleVoteClassifier([estimator, estimator], voting="soft").fit(X, y)
    assert vote.score(X, y) > 0.5


def test_mlxtend_stack(example):
    estimator, X, y = example
    stack = StackingCVClassifier(
        [estimator], LogisticRegression(), cv=2, use_probas=True, random_state=0
    )
    assert stack.fit(X, y).predict(X).shape == y.shape


def test_mlxtend_feature_selection(rows):
    estimator, X, y = rows
    selector = SequentialFeatureSelector(clone(estimator).set_params(max_epochs=1), 1, cv=2)
    assert len(selector.fit(X[:, :2], y).k_feature_idx_) == 1


def test_mlxtend_bias_and_variance(rows):
    estimator, X, y = rows
    loss, *_ = bias_variance_decomp(
        clone(estimator), X[:40], y[:40], X[40:], y[40:], num_rounds=2, random_seed=0
    )
    assert 0 <= loss <= 1
