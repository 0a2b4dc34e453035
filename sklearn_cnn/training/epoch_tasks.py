"""scikit-learn's callbacks: each epoch is a task of a fit, and one of them may stop it.

The callbacks themselves are scikit-learn's; they come with a context, which calls them.
"""

from collections.abc import Callable
from typing import Any

from sklearn_cnn.training.net import Callback, ConvNet, StopTraining
from sklearn_cnn.training.stopping import ValidationScore


class EpochTasks(Callback):
    """Tell scikit-learn's callbacks where each epoch begins and ends.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        That of the fit.
    estimator : CNNClassifier
        The one that is being fitted.
    given : dict
        ``X``, ``y`` and ``metadata`` of the fit, as the user gave them.
    fitted_attributes : callable (net) -> dict
        Returns the attributes that an estimator with that net has.
    """

    def __init__(
        self,
        context: Any,
        estimator: Any,
        given: dict[str, Any],
        fitted_attributes: Callable[[ConvNet], dict[str, Any]],
    ) -> None:
        self.context = context
        self.estimator = estimator
        self.given = given
        self.fitted_attributes = fitted_attributes

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Open a task."""
        self.task_ = self.context.subcontext(task_name="epoch")
        self.task_.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Close the task, and stop training if a callback says so.

        A callback may ask for the estimator as if ``fit`` had stopped here; it is made then only.
        """
        asked_to_stop = self.task_.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.fitted_attributes(as_if_stopped(net)),
            **self.given,
        )
        if asked_to_stop:
            raise StopTraining

    def let_go(self) -> None:
        """Forget the images and all else, since the net keeps its callbacks."""
        self.__dict__.clear()


def as_if_stopped(net: ConvNet) -> ConvNet:
    """Copy a net in the midst of training, or at its end: the copy does not change any more.

    It has the weights that ``fit`` would keep: with early stopping, those of the best epoch.
    """
    copy = net.copy_to_keep()
    copy.forget_moments()
    for _, callback in net.callbacks_:
        if isinstance(callback, ValidationScore) and callback.weights_:
            copy.module_.load_state_dict(callback.weights_)
    copy.module_.eval()
    return copy
