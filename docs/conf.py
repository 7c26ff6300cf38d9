"""Sphinx configuration of the documentation: `make docs` builds it, with warnings as errors."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version

# The kernel of an executed page inherits both.
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "unscatter"
author = "The unscatter developers"
copyright = f"2026, {author}"
release = version = installed_version("unscatter")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx.ext.mathjax", "sphinxcontrib.bibtex", "myst_nb"]
exclude_patterns = ["_build", "jupyter_execute"]

# Pages: Markdown; code cells are executed at every build, and an exception in one is an error.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# Reference: what a package lists in __all__, with the types in the signature.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"

html_theme = "furo"
html_title = f"unscatter {release}"
