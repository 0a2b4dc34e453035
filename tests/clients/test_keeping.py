"""Models that other libraries keep: as files in MLflow, and in skops's own format."""

import mlflow
import numpy as np
import skops.io
from sklearn.base import clone

from sklearn_cnn import load_model, save_model


def test_mlflow_keeps_a_model_file(rows, tmp_path, monkeypatch):
    """The lines of docs/user_guide/keeping.md."""
    monkeypatch.chdir(tmp_path)
    estimator, X, y = rows
    model = clone(estimator).fit(X, y)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    save_model(model, "model.safetensors")
    with mlflow.start_run() as run:
        mlflow.log_artifact("model.safetensors")
    path = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="model.safetensors"
    )
    np.testing.assert_array_equal(load_model(path).predict_proba(X), model.predict_proba(X))


def test_skops_reads_what_it_writes(rows):
    """Catches a file that it cannot read, as of a type of torch's within the net."""
    estimator, X, y = rows
    model = clone(estimator).fit(X, y)
    content = skops.io.dumps(model)
    loaded = skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
