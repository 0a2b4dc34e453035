"""The number of threads of this process for ``n_jobs``."""

import sys

from joblib import cpu_count, effective_n_jobs
from joblib.parallel import get_active_backend


def threads_of_jobs(n_jobs: int | None) -> int:
    """Return the number of threads of this process for ``n_jobs``, at least 1.

    This is joblib's ``effective_n_jobs``, unless the active backend counts a cluster: Dask's always
    returns the threads of all its workers. None then means 1 thread, and -1 all threads of the
    worker, or all processors outside of a worker's task.
    """
    backend, _ = get_active_backend()
    if backend.effective_n_jobs(1) == 1:
        return int(effective_n_jobs(n_jobs))
    if n_jobs is None:
        return 1
    if n_jobs > 0:
        return n_jobs
    return max(1, _own_share() + 1 + n_jobs)


def _own_share() -> int:
    """Return the threads of the Dask worker whose task this is, or the processors."""
    distributed = sys.modules.get("distributed")
    try:
        return int(distributed.get_worker().state.nthreads) if distributed else int(cpu_count())
    except ValueError:  # no task
        return int(cpu_count())
