"""A progress bar over all batches of a training, with the loss and the time left."""

from typing import Any

from sklearn_cnn._progress import tqdm
from sklearn_cnn.training.net import Callback


class Progress(Callback):
    """Show a progress bar on standard error.

    Parameters
    ----------
    n_epochs : int
        Epochs of the whole training.
    n_batches : int
        Batches of an epoch.
    """

    def __init__(self, n_epochs: int, n_batches: int) -> None:
        self.n_epochs = n_epochs
        self.n_batches = n_batches

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Draw the empty bar."""
        self.epoch_ = 0
        self.bar_ = tqdm(total=self.n_epochs * self.n_batches, unit="batch", leave=True)

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Name the epoch."""
        self.epoch_ += 1
        self.bar_.set_description(f"epoch {self.epoch_}/{self.n_epochs}", refresh=False)

    def on_batch_end(self, net: Any, training: Any = None, **_: Any) -> None:
        """Move on by one batch."""
        if training:
            self.bar_.update()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Show the epoch's loss, and its validation score where there is one."""
        epoch = net.history[-1]
        shown = {"loss": f"{epoch['train_loss']:.4f}"}
        if "validation_score" in epoch:
            shown["validation"] = f"{epoch['validation_score']:.4f}"
        self.bar_.set_postfix(shown)

    def close(self) -> None:
        """Leave the bar as it stands, whether training ended well or not."""
        if hasattr(self, "bar_"):
            self.bar_.close()
            del self.bar_
