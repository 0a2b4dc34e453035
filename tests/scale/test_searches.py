"""Searches on several engines: the same scores, whatever runs them and whatever dies meanwhile."""

import os
import signal
import time
from functools import partial

import joblib
import numpy as np
import optuna
import pytest
from dask.distributed import Client, LocalCluster
from joblib.externals.loky.process_executor import TerminatedWorkerError
from optuna_integration import SkorchPruningCallback
from PIL import Image
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier, ImageReader
from sklearn_cnn.machine.threads import threads_of_jobs

optuna.logging.set_verbosity(optuna.logging.ERROR)

GRID = {"cnnclassifier__conv_channels": [8, 16], "cnnclassifier__learning_rate": [0.004, 0.01]}
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Absolute paths of 90 images of three classes, as an array, and their labels."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    labels, files = np.arange(90) % 3, []
    for number, label in enumerate(labels):
        pixels = rng.integers(0, 120, (12, 12, 3), dtype=np.uint8)
        pixels[:, label * 4 : label * 4 + 4] += 90
        files.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(files[-1])
    return np.array(files), labels


@pytest.fixture(scope="module")
def started():
    """A cluster and its client: two workers, with a thread each; one that dies is started again."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield cluster, client


@pytest.fixture
def cluster(started):
    """The cluster, complete. A worker killed by the test before may still be starting, and what
    is scattered meanwhile is on the other alone."""
    cluster, client = started
    client.wait_for_workers(2, timeout=60)
    return cluster


def search(tmp_path, **options):
    model = make_pipeline(
        ImageReader(size=12, cache=tmp_path / "cache"),
        CNNClassifier(dense_units=8, max_epochs=3, random_state=0, **options),
    )
    return GridSearchCV(model, GRID, cv=FOLDS, refit=False)


def scores(found):
    return np.array([found.cv_results_[f"split{fold}_test_score"] for fold in range(3)])


@pytest.fixture(scope="module")
def expected(paths, tmp_path_factory):
    return scores(search(tmp_path_factory.mktemp("alone")).fit(*paths))


def test_loky_gives_the_same_scores(paths, expected, tmp_path):
    found = search(tmp_path).set_params(n_jobs=2).fit(*paths)
    np.testing.assert_array_equal(scores(found), expected)


def test_dask_gives_the_same_scores(paths, expected, tmp_path, cluster):
    with joblib.parallel_config("dask"):
        found = search(tmp_path).fit(*paths)
    np.testing.assert_array_equal(scores(found), expected)


def test_dask_gives_the_same_scores_for_scattered_arrays(paths, tmp_path, cluster):
    files, labels = paths
    pixels = ImageReader(size=12).transform(files)
    model = CNNClassifier(dense_units=8, max_epochs=2, random_state=0)
    grid = GridSearchCV(model, {"conv_channels": [8, 16]}, cv=FOLDS, refit=False)
    alone = scores(grid.fit(pixels, labels))
    with joblib.parallel_config("dask", scatter=[pixels, labels]):
        np.testing.assert_array_equal(scores(grid.fit(pixels, labels)), alone)


def test_ray_gives_the_same_scores(paths, expected, tmp_path):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            found = search(tmp_path).fit(*paths)
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(scores(found), expected)


def test_a_reader_stays_in_the_threads_of_its_worker(cluster):
    """Each of two workers has one thread. Catches the two of the cluster in each of them."""

    def threads():
        with joblib.parallel_config("dask"):
            return [threads_of_jobs(n_jobs) for n_jobs in (None, 1, -1)]

    with Client(cluster) as client:
        assert client.submit(threads, pure=False).result() == [1, 1, 1]


class KillOnce(Callback):
    """Kill the process, once, in a fit that begins with that many checkpoints in the folder."""

    def __init__(self, folder, n_files):
        self.folder = folder
        self.n_files = n_files

    def on_epoch_end(self, net, **_):
        done = self.folder / "killed"
        if not done.exists() and len(list(self.folder.glob("*.pt"))) >= self.n_files:
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("given", ["lists", "scattered"])
def test_a_killed_dask_worker_changes_no_score(paths, expected, tmp_path, cluster, given):
    """Its tasks run again elsewhere. Lists travel with each task, and what was scattered is on
    every worker; arrays of more than a kilobyte are kept on one, and die with it."""
    before = {worker.pid for worker in cluster.workers.values()}
    if given == "lists":
        files, labels = (array.tolist() for array in paths)
        options = {}
    else:
        files, labels = paths
        options = {"scatter": [files, labels]}
    with joblib.parallel_config("dask", **options):
        model = search(tmp_path, callbacks=[KillOnce(tmp_path, n_files=0)])
        found = model.fit(files, labels)
    assert before != {worker.pid for worker in cluster.workers.values()}
    np.testing.assert_array_equal(scores(found), expected)


class CountEpochs(Callback):
    """Leave a file for each epoch."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_end(self, net, **_):
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()


def test_a_killed_loky_worker_is_an_error_and_a_second_run_does_the_rest(paths, expected, tmp_path):
    folder, counts = tmp_path / "checkpoints", tmp_path / "epochs"
    folder.mkdir()
    counts.mkdir()
    make = partial(search, tmp_path, checkpoint=folder)
    with pytest.raises(TerminatedWorkerError):
        make(callbacks=[KillOnce(folder, n_files=2)]).set_params(n_jobs=2).fit(*paths)
    n_done = len(list(folder.glob("*.pt")))
    assert 2 <= n_done < 12
    found = make(callbacks=[CountEpochs(counts)]).set_params(n_jobs=2).fit(*paths)
    np.testing.assert_array_equal(scores(found), expected)
    assert len(list(counts.iterdir())) == 3 * (12 - n_done)


def test_a_halving_search_over_epochs_goes_on(paths, tmp_path):
    """Each rung from the last. Catches candidates that begin anew, or end elsewhere."""
    files, labels = paths
    pixels = ImageReader(size=12).transform(files)
    counts = tmp_path / "epochs"
    counts.mkdir()

    def halving(**options):
        model = CNNClassifier(
            dense_units=8, schedule="constant", random_state=0, learning_rate=0.004, **options
        )
        grid = {"conv_channels": [4, 8, 16]}
        return HalvingGridSearchCV(
            model, grid, resource="max_epochs", max_resources=6, min_resources=2, factor=3,
            cv=FOLDS, random_state=0, refit=False,
        ).fit(pixels, labels)  # fmt: skip

    plain = halving()
    found = halving(checkpoint=tmp_path / "checkpoints", callbacks=[CountEpochs(counts)])
    for name in ("mean_test_score", "mean_train_score"):
        np.testing.assert_array_equal(found.cv_results_[name], plain.cv_results_[name])
    epochs = plain.cv_results_["n_resources"]
    assert sorted(set(epochs)) == [2, 6]
    # three candidates to 2 epochs, then one on to 6, in three folds
    assert len(list(counts.iterdir())) == 3 * (3 * 2 + (6 - 2))


def trials_of(objective):
    """Return how far each trial of a study came, and whether it was pruned."""
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1),
    )
    study.optimize(objective, n_trials=8)
    return [(t.state.name, sorted(t.intermediate_values.items())) for t in study.trials]


def test_optuna_prunes_by_callback_as_in_a_loop(paths):
    """The callback itself is called. Catches a copy, whose trial nobody prunes."""
    files, labels = paths
    pixels = ImageReader(size=12).transform(files)
    make = partial(
        CNNClassifier, 8, dense_units=8, max_epochs=4, schedule="constant", random_state=0
    )

    def rate(trial):
        return trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)

    def by_callback(trial):
        callback = SkorchPruningCallback(trial, "train_loss")
        model = make(learning_rate=rate(trial), callbacks=[callback]).fit(pixels, labels)
        return model.loss_curve_[-1]

    def by_loop(trial):
        model = make(learning_rate=rate(trial))
        for epoch in range(4):
            model.partial_fit(pixels, labels, classes=np.unique(labels))
            trial.report(model.loss_curve_[-1], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return model.loss_curve_[-1]

    found = trials_of(by_callback)
    assert found == trials_of(by_loop)
    assert {state for state, _ in found} == {"COMPLETE", "PRUNED"}
