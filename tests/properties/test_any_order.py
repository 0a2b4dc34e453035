"""P4: in any order of calls and failures, an estimator is fitted or not fitted, never half."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier, CNNRegressor

RNG = np.random.default_rng(0)
IMAGES = {side: RNG.random((12, side, side)) for side in (3, 4)}
LABELS = np.arange(12) % 3
NUMBERS = {1: np.arange(12.0), 2: np.stack([np.arange(12.0), -(np.arange(12.0) ** 2)], axis=1)}
INDICATORS = np.stack([LABELS > 0, LABELS > 1, LABELS < 2], axis=1)


class Interrupt(Callback):
    """Raises in the second batch of a training, when the weights have already moved."""

    def __init__(self, error):
        self.error = error

    def on_batch_end(self, net, training=False, **_):
        if training and len(net.history[-1]["batches"]) == 2:
            raise self.error


class Estimator(RuleBasedStateMachine):
    """Calls methods in any order, and keeps a model of what must hold."""

    def __init__(self):
        super().__init__()
        self.estimator = CNNClassifier(4, dense_units=4, max_epochs=2, batch_size=4, random_state=0)
        self.side = None
        self.predicted = None

    def remember(self, side):
        self.side = side
        self.predicted = self.estimator.predict_proba(IMAGES[side])

    @rule(side=st.sampled_from([3, 4]), warm_start=st.booleans())
    def fit(self, side, warm_start):
        self.estimator.set_params(warm_start=warm_start)
        try:
            self.estimator.fit(IMAGES[side], LABELS)
        except ValueError as error:
            if not (warm_start and self.side not in (None, side)):
                raise
            self.said = str(error)
        else:
            self.remember(side)

    @rule(side=st.sampled_from([3, 4]))
    def partial_fit(self, side):
        try:
            self.estimator.partial_fit(IMAGES[side], LABELS, classes=[0, 1, 2])
        except ValueError as error:
            if self.side in (None, side):
                raise
            self.said = str(error)
        else:
            self.remember(side)

    @rule(
        method=st.sampled_from(["fit", "partial_fit"]),
        error=st.sampled_from([KeyboardInterrupt(), MemoryError(), ValueError("a callback's")]),
        warm_start=st.booleans(),
    )
    def fail(self, method, error, warm_start):
        self.estimator.set_params(callbacks=[Interrupt(error)], warm_start=warm_start)
        arguments = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
        try:
            getattr(self.estimator, method)(IMAGES[self.side or 3], LABELS, **arguments)
        except type(error):
            self.estimator.set_params(callbacks=None)
        else:
            raise AssertionError(f"{error!r} was swallowed")

    @rule()
    def fit_several_labels(self):
        """By a warm start, the net of one class refuses them, and an indicator matrix is refused
        where there was none. Catches an estimator that is then half of one kind.
        """
        self.estimator.set_params(warm_start=True)
        if self.predicted is None:
            return
        try:
            self.estimator.fit(IMAGES[self.side], INDICATORS)
        except ValueError as error:
            self.said = str(error)
        else:
            raise AssertionError("a net of classes took several labels")

    @rule(labels=st.sampled_from([LABELS[:5], LABELS + 0.5, np.zeros(12)]))
    def fit_nonsense(self, labels):
        try:
            self.estimator.fit(IMAGES[3], labels)
        except ValueError as error:
            self.said = str(error)
        else:
            self.remember(3)  # a warm start takes a single one of its classes

    @precondition(lambda self: self.predicted is None)
    @invariant()
    def not_fitted(self):
        assert not [name for name in vars(self.estimator) if name.endswith("_")]
        try:
            check_is_fitted(self.estimator)
        except NotFittedError:
            return
        raise AssertionError("fitted after a failure")

    @precondition(lambda self: self.predicted is not None)
    @invariant()
    def fitted_as_remembered(self):
        np.testing.assert_array_equal(
            self.estimator.predict_proba(IMAGES[self.side]), self.predicted
        )
        assert len(self.estimator.loss_curve_) == self.estimator.n_iter_
        assert len(self.estimator.history_) == self.estimator.n_iter_


TestAnyOrder = Estimator.TestCase
TestAnyOrder.settings = settings(
    max_examples=30, stateful_step_count=12, deadline=None, derandomize=True
)


class Regressor(RuleBasedStateMachine):
    """Calls methods of a regressor in any order, with one number an image or two."""

    def __init__(self):
        super().__init__()
        self.estimator = CNNRegressor(4, dense_units=4, max_epochs=2, batch_size=4, random_state=0)
        self.n_targets = None
        self.predicted = None

    @rule(
        n_targets=st.sampled_from([1, 2]),
        method=st.sampled_from(["fit", "partial_fit"]),
        warm_start=st.booleans(),
        interrupted=st.booleans(),
    )
    def train(self, n_targets, method, warm_start, interrupted):
        callbacks = [Interrupt(KeyboardInterrupt())] if interrupted else None
        self.estimator.set_params(warm_start=warm_start, callbacks=callbacks)
        goes_on = self.predicted is not None and (warm_start or method == "partial_fit")
        try:
            getattr(self.estimator, method)(IMAGES[3], NUMBERS[n_targets])
        except KeyboardInterrupt:
            assert interrupted
        except ValueError:
            if not goes_on or n_targets == self.n_targets:
                raise
        else:
            self.n_targets, self.predicted = n_targets, self.estimator.predict(IMAGES[3])

    @rule(numbers=st.sampled_from([LABELS[:5], np.full(12, np.nan), INDICATORS]))
    def fit_nonsense(self, numbers):
        self.estimator.set_params(callbacks=None)
        try:
            self.estimator.fit(IMAGES[3], numbers)
        except ValueError as error:
            self.said = str(error)
        else:
            raise AssertionError("nonsense was learnt")

    @invariant()
    def is_as_remembered(self):
        if self.predicted is None:
            assert not [name for name in vars(self.estimator) if name.endswith("_")]
        else:
            np.testing.assert_array_equal(self.estimator.predict(IMAGES[3]), self.predicted)
            assert self.estimator.n_outputs_ == self.n_targets


TestAnyOrderOfRegressor = Regressor.TestCase
TestAnyOrderOfRegressor.settings = settings(
    max_examples=15, stateful_step_count=10, deadline=None, derandomize=True
)
