"""scikit-learn's callbacks: each epoch is a task, which they see, score and may be the last."""

import gc
import io
import pickle
import threading
import weakref

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.fixes import parse_version
from skorch.callbacks import Checkpoint
from torch import nn

from sklearn_cnn import ImageReader, load_image_folder

HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")

needs_callbacks = pytest.mark.skipif(
    not HAS_CALLBACKS, reason="scikit-learn has callbacks since 1.9"
)


class Recorder:
    """Note every task; stop where told. One object for all that is asked of it."""

    def __init__(self, stop_in=None):
        self.stop_in = stop_in
        self.events = []
        self.fitted = []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name, context.task_id))

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name, context.task_id))

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.events.append(("end", context.task_name, context.task_id))
        self.fitted.append(fitted_estimator)
        return context.task_name == "epoch" and context.task_id == self.stop_in


class Propagated(Recorder):
    """Reach the estimators inside of others."""

    max_propagation_depth = None

    def on_fit_task_end(self, estimator, context):
        self.events.append(("end", context.task_name, context.task_id))


class WithoutModels(Recorder):
    """Ask for nothing that has to be made."""

    def on_fit_task_end(self, estimator, context):
        self.events.append(("end", context.task_name, context.task_id))


@pytest.mark.skipif(HAS_CALLBACKS, reason="scikit-learn 1.9 or newer has them")
def test_older_versions_say_what_is_missing(small):
    assert not hasattr(small(), "set_callbacks")
    with pytest.raises(AttributeError, match=r"needs scikit-learn 1\.9 or newer.*verbose=1"):
        small().set_callbacks()


@needs_callbacks
def test_the_tasks_of_a_fit_come_in_order(small, bars):
    """Catches an epoch that is not closed, and a fit that is torn down before its end."""
    recorder = WithoutModels()
    model = small(max_epochs=2).set_callbacks(recorder).fit(*bars)
    assert recorder.events == [
        ("setup", "fit", 0),
        ("begin", "fit", 0),
        ("begin", "epoch", 0),
        ("end", "epoch", 0),
        ("begin", "epoch", 1),
        ("end", "epoch", 1),
        ("end", "fit", 0),
        ("teardown", "fit", 0),
    ]
    assert model.n_iter_ == 2


@needs_callbacks
def test_the_model_is_the_same_as_without(small, bars):
    """Also where every epoch's model is asked for. Catches a copy that draws random numbers."""
    plain = small(dropout=0.3).fit(*bars)
    watched = small(dropout=0.3).set_callbacks(Recorder()).fit(*bars)
    assert_array_equal(watched.predict_proba(bars[0]), plain.predict_proba(bars[0]))
    assert watched.loss_curve_ == plain.loss_curve_


@needs_callbacks
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_stops_a_fit_cleanly(small, bars, early_stopping):
    """What it was shown last is what fit leaves. Catches a stop that is taken for an error."""
    recorder = Recorder(stop_in=2)
    model = small(max_epochs=9, early_stopping=early_stopping).set_callbacks(recorder)
    assert model.fit(*bars) is model
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert recorder.events[-1] == ("teardown", "fit", 0)
    *_, last_epoch, whole = recorder.fitted
    for fitted in (last_epoch, whole):
        assert_array_equal(fitted.predict_proba(bars[0]), model.predict_proba(bars[0]))
        assert fitted.n_iter_ == 3
        assert fitted.validation_scores_ == model.validation_scores_
    assert not hasattr(model, "_callback_fit_ctx")


@needs_callbacks
def test_the_model_of_an_epoch_stays_as_it_was(small, bars):
    """Catches weights that are shared with the network in training, and a network left in it."""
    recorder = Recorder()
    small(max_epochs=4).set_callbacks(recorder).fit(*bars)
    at_the_end = [model.predict_proba(bars[0]) for model in recorder.fitted]
    assert [model.n_iter_ for model in recorder.fitted] == [1, 2, 3, 4, 4]
    shorter = Recorder(stop_in=1)
    small(max_epochs=4).set_callbacks(shorter).fit(*bars)
    assert_array_equal(shorter.fitted[1].predict_proba(bars[0]), at_the_end[1])
    assert not np.array_equal(at_the_end[0], at_the_end[1])
    assert not any(model.net_.module_.training for model in recorder.fitted)


@needs_callbacks
def test_scores_of_every_epoch(small, bars):
    """As the example of scikit-learn's guide; weights are handed on."""
    from sklearn.callback import ScoringMonitor

    weights = np.linspace(0.1, 1, 200)
    monitor = ScoringMonitor(scoring="accuracy")
    model = small(max_epochs=3).set_callbacks(monitor).fit(*bars, sample_weight=weights)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in rows] == [0, 1, 2]
    assert rows[-1]["accuracy"] == model.score(*bars, sample_weight=weights)


@needs_callbacks
def test_weights_reach_the_callback(small, bars):
    """Catches weights that are dropped, or passed where there are none."""
    seen = []

    class Weights(Recorder):
        def on_fit_task_end(self, estimator, context, *, metadata=None):
            seen.append(metadata)

    weights = np.ones(200)
    small(max_epochs=1).set_callbacks(Weights()).fit(*bars)
    small(max_epochs=1).set_callbacks(Weights()).fit(*bars, sample_weight=weights)
    assert seen[:2] == [None, None]
    assert seen[2]["sample_weight"] is weights


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_of_search_fold_and_epoch(small, bars, n_jobs, monkeypatch):
    """Bars of the search, its candidates and folds, and their epochs. Catches a bar left behind."""
    import rich.console
    from sklearn.callback import ProgressBar

    screen = io.StringIO()
    monkeypatch.setattr(
        "rich.progress.get_console",
        lambda: rich.console.Console(file=screen, force_terminal=True, width=120),
    )
    progress = ProgressBar(max_propagation_depth=None)
    search = GridSearchCV(small(max_epochs=2), {"pooling": ["max", "mean"]}, cv=2, n_jobs=n_jobs)
    with parallel_config("threading"):
        search.set_callbacks(progress).fit(*bars)
    shown = screen.getvalue()
    assert "GridSearchCV - fit" in shown
    assert "CNNClassifier - fit" in shown
    assert "100%" in shown
    assert not hasattr(search.best_estimator_, "_parent_callback_ctx")


@needs_callbacks
def test_a_search_over_the_pipeline_scores_every_epoch(small, bars):
    """Catches a context that is not joined to that of the search."""
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    steps = FunctionTransformer(np.asarray), small(max_epochs=2).set_callbacks(monitor)
    GridSearchCV(make_pipeline(*steps), {"cnnclassifier__pooling": ["max"]}, cv=2).fit(*bars)
    log = monitor.get_logs(include_lineage=True)
    assert log.estimator_name == "GridSearchCV"
    epochs = [row for row in log.data if row["task_name"] == "epoch"]
    assert len(epochs) == 3 * 2  # two folds and the refit


@needs_callbacks
def test_callbacks_are_cloned_and_taken_off(small, bars):
    recorder = WithoutModels()
    model = small(max_epochs=1).set_callbacks(recorder)
    clone(model).fit(*bars)
    n_events = len(recorder.events)
    assert n_events > 0
    model.set_callbacks().fit(*bars)
    assert len(recorder.events) == n_events


@needs_callbacks
def test_a_class_is_no_callback(small):
    with pytest.raises(TypeError, match="must be instances"):
        small().set_callbacks(Recorder)


@needs_callbacks
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_a_callback_leaves_the_estimator_as_it_was(small, bars, error):
    """Torn down all the same. Catches a half-fitted estimator, and a context that stays."""

    class Breaks(WithoutModels):
        def on_fit_task_end(self, estimator, context):
            raise error("no disk")

    breaking = Breaks()
    model = small().set_callbacks(breaking)
    before = dict(vars(model))
    with pytest.raises(error, match="no disk"):
        model.fit(*bars)
    assert vars(model) == before
    assert breaking.events[-1] == ("teardown", "fit", 0)
    model.set_callbacks().fit(*bars)


@needs_callbacks
def test_bad_input_reaches_no_callback(small, bars):
    recorder = WithoutModels()
    with pytest.raises(ValueError, match="inconsistent"):
        small().set_callbacks(recorder).fit(bars[0], bars[1][:-1])
    assert recorder.events == []


@needs_callbacks
def test_the_fitted_estimator_lets_go_of_the_images(small, bars):
    """Catches a net that keeps the task, the task that keeps X, and a pickle that holds both."""
    images = bars[0].copy()
    gone = weakref.ref(images)
    model = small(max_epochs=1).set_callbacks(WithoutModels()).fit(images, bars[1])
    size = len(pickle.dumps(model.set_callbacks()))
    del images
    gc.collect()
    assert gone() is None
    alone = len(pickle.dumps(small(max_epochs=1).fit(*bars)))
    assert size < alone + 1000


class Keeps(nn.Module):
    """Keeps the maps of its last batch, which torch copies only if asked the right way."""

    def __init__(self, n_outputs):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 2, 3), nn.Linear(2, n_outputs)

    def forward(self, images):
        self.kept = self.conv(images)
        return self.last(self.kept.mean(dim=(2, 3)))


@needs_callbacks
def test_the_model_of_an_epoch_of_a_module_that_keeps_its_maps(small, bars):
    recorder = Recorder()
    model = small(layers=lambda _, n_outputs: Keeps(n_outputs)).set_callbacks(recorder).fit(*bars)
    assert_array_equal(recorder.fitted[-1].predict(bars[0]), model.predict(bars[0]))


@needs_callbacks
def test_the_model_of_an_epoch_can_be_trained_further_by_itself(small, bars):
    """Catches a copy without its optimizer, and one that shares it, or the last that is no copy."""
    recorder = Recorder()
    model = small(max_epochs=2).set_callbacks(recorder).fit(*bars)
    before = model.predict_proba(bars[0])
    for fitted in recorder.fitted:
        own = fitted.predict_proba(bars[0])
        fitted.partial_fit(*bars)
        assert not np.array_equal(fitted.predict_proba(bars[0]), own)
        assert len(fitted.history_) == fitted.n_iter_
    assert_array_equal(model.predict_proba(bars[0]), before)
    assert len(model.history_) == 2


@needs_callbacks
def test_a_net_that_is_pickled_in_training_has_no_images(small, bars, tmp_path):
    """As skorch's Checkpoint does; with a callback that cannot be pickled."""

    class Local(WithoutModels):
        pass

    path = tmp_path / "net.pkl"
    checkpoint = Checkpoint(monitor=None, f_pickle=str(path), dirname=str(tmp_path))
    model = small(max_epochs=1, callbacks=[checkpoint]).set_callbacks(Local())
    images = np.random.default_rng(0).integers(0, 256, (2000, 8, 6), dtype=np.uint8)
    model.fit(images, np.arange(2000) % 2)
    large = path.stat().st_size
    model.fit(*bars)
    assert large < path.stat().st_size + images.nbytes / 2


@needs_callbacks
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_that_fails_keeps_no_task(small, bars):
    """Catches a net whose callbacks hold the images of a fit that failed."""

    class Breaks(WithoutModels):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("no disk")

    model = small(max_epochs=1, warm_start=True).fit(*bars)
    before = list(model.net_.callbacks_)
    with pytest.raises(RuntimeError, match="no disk"):
        model.set_callbacks(Breaks()).fit(*bars)
    assert model.net_.callbacks_ == before


@needs_callbacks
def test_a_reader_in_front_passes_progress_on(small, tmp_path):
    """No warning of scikit-learn's that callbacks end here."""
    for i in range(8):
        folder = tmp_path / str(i % 2)
        folder.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 30 * i).save(folder / f"{i}.png")
    found = load_image_folder(tmp_path)
    recorder = Propagated()
    model = make_pipeline(ImageReader(8, mode="L"), small(max_epochs=2))
    model.set_callbacks(recorder).fit(found.data, found.target)
    assert ("end", "epoch", 1) in recorder.events


@needs_callbacks
def test_partial_fit_tells_no_callback(small, bars):
    """As in scikit-learn, whose callbacks look on fits."""
    recorder = WithoutModels()
    small().set_callbacks(recorder).partial_fit(*bars, classes=[0, 1])
    assert recorder.events == []


@needs_callbacks
def test_a_warm_start_counts_its_own_epochs(small, bars):
    recorder = Recorder()
    model = small(max_epochs=2, warm_start=True).fit(*bars)
    model.set_callbacks(recorder).fit(*bars)
    assert [fitted.n_iter_ for fitted in recorder.fitted] == [3, 4, 4]
    assert ("end", "epoch", 1) in recorder.events
    assert ("end", "epoch", 2) not in recorder.events


@needs_callbacks
@pytest.mark.parametrize("hook", ["on_fit_task_end", "teardown"])
@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_callback_that_fails_after_the_last_epoch_keeps_the_model(small, bars, hook, error):
    """Catches hours of training lost at the end of the fit, or where a callback tidies up."""

    class Breaks(WithoutModels):
        def on_fit_task_end(self, estimator, context):
            if hook == "on_fit_task_end" and context.task_name == "fit":
                raise error("no disk")

        def teardown(self, estimator, context):
            if hook == "teardown":
                raise error("no disk")

    model = small().set_callbacks(Breaks())
    said = rf"trained model is kept\. {error.__name__}: .*no disk.*set by set_callbacks"
    with pytest.warns(UserWarning, match=said) as caught:
        model.fit(*bars)
    assert caught[0].filename == __file__
    assert_array_equal(model.predict_proba(bars[0]), small().fit(*bars).predict_proba(bars[0]))
    assert not hasattr(model, "_callback_fit_ctx")


@needs_callbacks
def test_two_progress_bars_are_one(small, bars, monkeypatch):
    """scikit-learn ends one of two with a KeyError, and leaves a thread that never ends.

    Catches a model that is lost to it, and a process that does not exit.
    """
    import rich.console
    from sklearn.callback import ProgressBar

    screen = io.StringIO()
    monkeypatch.setattr("rich.progress.get_console", lambda: rich.console.Console(file=screen))
    bars_shown = [ProgressBar(), WithoutModels(), ProgressBar(), ProgressBar()]
    model = small(max_epochs=1).set_callbacks(*bars_shown)
    before = set(threading.enumerate())
    with pytest.warns(UserWarning, match=r"given 3 ProgressBars\. .* the first is") as caught:
        model.fit(*bars)
    assert caught[0].filename == __file__
    assert model.n_iter_ == 1
    assert model._skl_callbacks == bars_shown
    assert bars_shown[1].events[-1] == ("teardown", "fit", 0)
    assert not [t for t in set(threading.enumerate()) - before if not t.daemon]


class Stages(Recorder):
    """Note whether the network of each task's model is in training mode, before it predicts."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.fitted.append(fitted_estimator)
        self.events.append((context.max_subtasks, fitted_estimator.net_.module_.training))


@needs_callbacks
def test_a_model_that_is_shown_is_ready_to_predict(small, bars):
    """Read before any prediction, which would put a network that trains in order.

    Catches batch statistics and dropout in a user's own use of ``net_.module_``.
    """
    stages = Stages()
    small(max_epochs=2, early_stopping=True, dropout=0.5).set_callbacks(stages).fit(*bars)
    told = [event for event in stages.events if len(event) == 2]
    assert [training for _, training in told] == [False] * 3
    assert told[-1][0] == 2  # the fit knows how many epochs it may have


@needs_callbacks
def test_the_last_epochs_model_is_that_of_the_best_epoch(small, digits):
    """With early stopping, where the best epoch is not the last. Catches the last weights."""
    images, target = digits.images[:300], digits.target[:300]
    recorder = Recorder()
    model = small(max_epochs=12, early_stopping=True, learning_rate=0.05)
    model.set_callbacks(recorder).fit(images, target)
    assert np.argmax(model.validation_scores_) < len(model.validation_scores_) - 1
    *_, last_epoch, whole = recorder.fitted
    at_the_end = model.net_.module_.state_dict()
    for fitted in (last_epoch, whole):
        for name, value in fitted.net_.module_.state_dict().items():
            assert (value == at_the_end[name]).all()
    last = recorder.fitted[-2].best_validation_score_
    assert last == model.best_validation_score_ == max(model.validation_scores_)


@needs_callbacks
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_scores_under_a_warm_start_are_those_of_this_fit(small, bars, first):
    """Catches scores of epochs before, or None for those of a fit without early stopping."""
    recorder = Recorder()
    model = small(max_epochs=2, warm_start=True)
    if first == "fit":
        model.fit(*bars)
    else:
        model.partial_fit(*bars, classes=[0, 1])
    before = model.n_iter_
    model.set_params(early_stopping=True, max_epochs=3).set_callbacks(recorder).fit(*bars)
    assert [len(shown.validation_scores_) for shown in recorder.fitted] == [1, 2, 3, 3]
    assert recorder.fitted[-1].validation_scores_ == model.validation_scores_
    assert [shown.n_iter_ for shown in recorder.fitted] == [before + n for n in (1, 2, 3, 3)]


@needs_callbacks
@pytest.mark.parametrize("max_epochs", [1, 4])
def test_a_fit_says_how_many_epochs_it_may_have(small, bars, max_epochs):
    """Catches a progress bar without an end, and one that never fills."""
    stages = Stages()
    small(max_epochs=max_epochs).set_callbacks(stages).fit(*bars)
    assert stages.events[-2][0] == max_epochs
