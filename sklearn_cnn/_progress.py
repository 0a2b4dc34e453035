"""The one place where tqdm is imported: a progress bar on standard error, or in a notebook."""

from tqdm.auto import tqdm

__all__ = ["tqdm"]
