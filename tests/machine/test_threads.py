"""Threads that n_jobs asks for, also where joblib counts a cluster."""

import joblib
import pytest
from joblib.parallel import ParallelBackendBase, SequentialBackend

from sklearn_cnn.machine.threads import threads_of_jobs


class OfACluster(SequentialBackend):
    """As Dask's backend: it gives the threads of all workers, whatever is asked."""

    def effective_n_jobs(self, n_jobs):
        return 64


@pytest.fixture
def cluster():
    joblib.register_parallel_backend("cluster", OfACluster)
    with joblib.parallel_config("cluster"):
        assert isinstance(joblib.parallel.get_active_backend()[0], ParallelBackendBase)
        assert joblib.effective_n_jobs(2) == 64
        yield
    joblib.parallel.BACKENDS.pop("cluster")


@pytest.mark.parametrize(
    ("n_jobs", "expected"), [(None, 1), (1, 1), (3, 3), (-1, joblib.cpu_count()), (-1000, 1)]
)
def test_a_cluster_is_not_this_process(cluster, n_jobs, expected):
    """Catches 64 threads in each of its workers."""
    assert threads_of_jobs(n_jobs) == expected


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1])
@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_elsewhere_joblib_decides(n_jobs, backend):
    with joblib.parallel_config(backend):
        assert threads_of_jobs(n_jobs) == joblib.effective_n_jobs(n_jobs)
    with joblib.parallel_config("threading", n_jobs=3):
        assert threads_of_jobs(None) == 3
