"""How Sphinx builds the site: `scripts/docs`."""

import os
import re

# One drawing backend, and as few threads as a page needs: examples are small.
os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib
from sphinx.application import Sphinx

import sklearn_cnn

matplotlib.rcParams["figure.dpi"] = 100

project = "sklearn_cnn"
author = "The sklearn_cnn maintainers"
copyright = "The sklearn_cnn maintainers (BSD-3-Clause)"
version = release = sklearn_cnn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx_sitemap",
]
exclude_patterns = ["_build", "gallery/**/*.md5", "gallery/**/*.ipynb", "gallery/**/*.py"]
templates_path = ["_templates"]
nitpicky = False

# Markdown
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # an included changelog begins with its own title

# API
autosummary_generate = True
autodoc_default_options = {"member-order": "groupwise"}
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_validation_checks: set[str] = set()  # tests/docs/test_numpydoc.py validates
intersphinx_mapping = {}

# Gallery
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"__init__\.py|browser",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sklearn_cnn",),
    "inspect_global_variables": True,
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "matplotlib_animations": False,
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
}

# Pages
html_theme = "pydata_sphinx_theme"
html_title = "sklearn_cnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_baseurl = os.environ.get(
    "SITE_URL", "http://localhost:8000/"
)  # of the sitemap; a release sets it
sitemap_url_scheme = "{link}"
html_theme_options = {
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "changelog": []}

ROLE = re.compile(r":(?:ref|term|class|func|meth):`(?:([^`<]*?)\s*<[^`>]*>|~?([^`]*))`")
"""A role of reStructuredText, with a title and a target, or a target alone."""

OF_ROUTING = re.compile(r"set_\w+_request|get_metadata_routing")


def leave_out_routing(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Leave out the methods by which scikit-learn routes metadata: they are on every estimator."""
    return True if OF_ROUTING.fullmatch(name) else None


def unlink_foreign(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Print labels of scikit-learn's own site as text in the docstrings of inherited methods."""
    if str(getattr(obj, "__module__", "")).startswith("sklearn."):
        lines[:] = [ROLE.sub(lambda found: found[1] or found[2], line) for line in lines]


def setup(app: Sphinx) -> None:
    """Connect the two, the second before numpydoc reads the lines."""
    app.connect("autodoc-skip-member", leave_out_routing)
    app.connect("autodoc-process-docstring", unlink_foreign, priority=1)
