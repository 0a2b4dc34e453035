"""TrainingCurveDisplay: a curve an epoch at a time, beside what the classifier has noted."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.ticker import MaxNLocator
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback

from sklearn_cnn import TrainingCurveDisplay


def curves(display):
    """The points of each curve, by the name of its panel."""
    return {
        ax.get_ylabel(): (line.get_xdata().tolist(), list(line.get_ydata()))
        for ax, line in zip(display.axes_, display.lines_, strict=True)
    }


def test_curves_are_what_the_classifier_has_noted(small, numbers):
    model = small(max_epochs=4, early_stopping=True).fit(*numbers)
    rates = [epoch["learning_rate"] for epoch in model.history_]
    assert curves(TrainingCurveDisplay.from_estimator(model)) == {
        "training loss": ([1, 2, 3, 4], model.loss_curve_),
        "validation score": ([1, 2, 3, 4], model.validation_scores_),
        "learning rate": ([1, 2, 3, 4], rates),
    }


def test_without_early_stopping_there_is_no_validation_score(fitted):
    """Catches an empty panel."""
    display = TrainingCurveDisplay.from_estimator(fitted)
    assert list(curves(display)) == ["training loss", "learning rate"]
    assert display.validation_score is None


def test_scores_of_the_last_fit_belong_to_the_last_epochs(small, numbers):
    """A warm start keeps the losses of all fits. Catches scores that begin in epoch 1."""
    model = small(max_epochs=2, warm_start=True, early_stopping=True).fit(*numbers)
    model.set_params(max_epochs=3).fit(*numbers)
    found = curves(TrainingCurveDisplay.from_estimator(model))
    assert found["training loss"][0] == [1, 2, 3, 4, 5]
    assert found["validation score"] == ([3, 4, 5], model.validation_scores_)


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_scores_that_come_with_a_warm_start_belong_to_its_epochs(small, numbers, first):
    """A fit or partial fit without early stopping, then one with it.

    Catches scores drawn from epoch 1, and a best epoch counted from the second fit's first.
    """
    images, y = numbers
    model = small(max_epochs=2, warm_start=True)
    if first == "fit":
        model.fit(images, y)
    else:
        for _ in range(2):
            model.partial_fit(images, y, classes=np.arange(10))
    model.set_params(early_stopping=True, max_epochs=6, learning_rate=0.03).fit(images, y)
    display = TrainingCurveDisplay.from_estimator(model)
    found = curves(display)
    assert found["training loss"] == (list(range(1, model.n_iter_ + 1)), model.loss_curve_)
    assert found["validation score"] == (
        list(range(3, model.n_iter_ + 1)),
        model.validation_scores_,
    )
    best = display.best_epoch
    assert model.validation_scores_[best - 3] == model.best_validation_score_
    model.set_params(early_stopping=False, max_epochs=1).fit(images, y)
    after = TrainingCurveDisplay.from_estimator(model)
    assert after.validation_score is None
    assert after.best_epoch is None


def test_partial_fits_are_epochs(small, numbers):
    images, y = numbers
    model = small()
    for _ in range(2):
        model.partial_fit(images, y, classes=np.arange(10))
    display = TrainingCurveDisplay.from_estimator(model)
    assert curves(display)["learning rate"] == ([1, 2], [0.004, 0.004])


def test_training_that_goes_on_does_not_reach_a_display(small, numbers):
    """Catches a list that grows, or a number of epochs that is asked for later."""
    model = small(max_epochs=2, warm_start=True).fit(*numbers)
    display = TrainingCurveDisplay.from_estimator(model)
    loss = list(model.loss_curve_)
    model.fit(*numbers)
    assert display.loss == loss
    assert len(model.loss_curve_) == 4


def test_curves_may_be_given_by_hand():
    """Catches what only lists have, or only arrays."""
    display = TrainingCurveDisplay(np.array([3.0, 2, 1]), (0.5, 0.25), [0.1, 0.2, 0.3]).plot()
    assert curves(display) == {
        "training loss": ([1, 2, 3], [3, 2, 1]),
        "validation score": ([2, 3], [0.5, 0.25]),
        "learning rate": ([1, 2, 3], [0.1, 0.2, 0.3]),
    }


@pytest.mark.parametrize(
    ("scores", "best", "label"),
    [
        ([0.25, 0.75, 0.5, 0.625], 2, "best: 0.7500 in epoch 2"),
        ([0.5, 0.75, 0.75], 4, "best: 0.7500 in epoch 4"),
        ([1.0], 4, "best: 1.0000 in epoch 4"),
    ],
)
def test_the_best_epoch_is_marked(scores, best, label):
    """Of four. Catches an epoch counted from the scores, or from 0."""
    panel = TrainingCurveDisplay([4, 3, 2, 1], scores, best_epoch=best).plot().axes_[1]
    (text,) = panel.get_legend().get_texts()
    assert text.get_text() == label
    marks = [line.get_xdata() for line in panel.get_lines() if line.get_linestyle() == ":"]
    assert marks == [[int(label[-1])] * 2]


SEEN = []


class NoteWeights(Callback):
    """Note the weights of each epoch."""

    def on_epoch_end(self, net, **_):
        SEEN.append(net.module_.output.weight.detach().clone())


@pytest.mark.parametrize("seed", [1, 3])
def test_the_best_epoch_is_the_one_that_was_kept(small, numbers, seed):
    """Of equal scores, the one of the lowest loss. Catches the first of them."""
    SEEN.clear()
    options = {"max_epochs": 12, "early_stopping": True, "random_state": seed}
    model = small(callbacks=[NoteWeights()], **options).fit(*numbers)
    assert model.validation_scores_.count(model.best_validation_score_) > 1
    best = TrainingCurveDisplay.from_estimator(model).best_epoch
    assert torch.equal(SEEN[best - 1], model.net_.module_.output.weight)


def test_panels_share_their_epochs():
    """From half an epoch before the first to half after the last. Catches curves out of line."""
    display = TrainingCurveDisplay([3, 2, 1], [0.5], [1, 1, 1]).plot()
    assert [ax.get_xlim() for ax in display.axes_] == [(0.5, 3.5)] * 3
    labels = [ax.get_xlabel() for ax in display.axes_]
    assert labels == ["", "", "epoch"]
    shown = [ax.xaxis.get_tick_params()["labelbottom"] for ax in display.axes_]
    assert shown == [False, False, True]


@pytest.mark.parametrize("n_epochs", [1, 2, 7])
def test_epochs_are_whole_numbers(n_epochs):
    """Catches ticks at 1.5."""
    panel = TrainingCurveDisplay(np.ones(n_epochs)).plot().axes_[-1]
    panel.figure.canvas.draw()
    assert isinstance(panel.xaxis.get_major_locator(), MaxNLocator)
    ticks = panel.get_xticks()
    assert_array_equal(ticks, np.rint(ticks))
    assert set(range(1, min(n_epochs, 2) + 1)) & set(ticks)


@pytest.mark.parametrize(("n_epochs", "marker"), [(30, "."), (31, "None")])
def test_many_epochs_have_no_marks(n_epochs, marker):
    (line,) = TrainingCurveDisplay(np.ones(n_epochs)).plot().lines_
    assert line.get_marker() == marker


@pytest.mark.parametrize(
    "keywords",
    [{"color": "red", "linewidth": 3, "marker": "x"}, {"c": "red", "lw": 3, "marker": "x"}],
)
def test_keywords_reach_every_curve(keywords):
    """By long names and short ones, which matplotlib does not take beside each other."""
    display = TrainingCurveDisplay([2, 1], [0.5], [1, 1]).plot(line_kw=keywords)
    assert len(display.lines_) == 3
    for line in display.lines_:
        assert (line.get_color(), line.get_linewidth(), line.get_marker()) == ("red", 3, "x")


def test_curves_have_colours_of_their_own():
    display = TrainingCurveDisplay([2, 1], [0.5], [1, 1]).plot()
    assert [line.get_color() for line in display.lines_] == ["C0", "C1", "C2"]


def test_the_learning_rate_has_a_lower_panel():
    """0.6 of the others. Catches heights in another order than the panels."""
    figure = plt.figure()
    ax = figure.add_axes((0, 0, 1, 1))
    display = TrainingCurveDisplay([2, 1], [0.5], [1, 1]).plot(ax=ax)
    figure.canvas.draw()
    heights = [panel.get_position().height for panel in display.axes_]
    assert_allclose(np.divide(heights, heights[0]), [1, 1, 0.6])


def test_a_warm_start_with_early_stopping_after_a_fit_without(small, numbers):
    """Scores begin in epoch 3, and the best is named by its number among all epochs.

    Catches a best epoch counted from the second fit, or looked for in epochs that have no score.
    """
    model = small(max_epochs=2, warm_start=True).fit(*numbers)
    model.set_params(early_stopping=True, max_epochs=4).fit(*numbers)
    display = TrainingCurveDisplay.from_estimator(model)
    assert curves(display)["validation score"] == ([3, 4, 5, 6], model.validation_scores_)
    best = max(model.history_[2:], key=lambda e: (e["validation_score"], -e["valid_loss"]))
    assert display.best_epoch == best["epoch"] >= 3
    assert model.validation_scores_[display.best_epoch - 3] == model.best_validation_score_
