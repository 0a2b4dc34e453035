"""
One fit on several processes
============================

Train one network on several processes, and resume after a crash::

    torchrun --nproc-per-node=2 examples/train_on_processes.py

With ``python`` instead of ``torchrun``, the fit runs in one process and gives the same network.
Stop it with Ctrl-C and run it again: it continues where it stopped.
"""

import sys
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNClassifier, RandomShift, data_parallel


def main(folder: str = "train_on_processes_output") -> None:
    """Train on digits enlarged to 16 x 16, and print the accuracy on the rest."""
    digits = load_digits()
    images = digits.images.repeat(2, axis=1).repeat(2, axis=2)
    # with a random_state, all processes split the images in the same way
    X, X_test, y, y_test = train_test_split(images, digits.target, test_size=0.2, random_state=0)
    model = CNNClassifier(
        augment=RandomShift(),
        max_epochs=4,
        random_state=0,
        checkpoint=Path(folder) / "checkpoints",
    )
    with data_parallel() as processes:
        model.fit(X, y)
    if processes is None or processes.rank == 0:
        n = 1 if processes is None else processes.n_processes
        print(f"{n} process(es): accuracy {model.score(X_test, y_test):.4f}")
        print(f"loss of each epoch: {[round(loss, 6) for loss in model.loss_curve_]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
