"""Sphinx: MyST pages, Furo theme, API from docstrings. A warning is an error (`make docs`)."""

from __future__ import annotations

import netdial
from netdial import FitConfig

project = "netdial"
author = "netdial contributors"
copyright = "2026, netdial contributors"
version = release = netdial.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_rows = [
    f"| `{name}` | `{field.default!r}` | {field.description} |"
    for name, field in FitConfig.model_fields.items()
]
myst_substitutions = {
    "settings": "\n".join(["| setting | default | meaning |", "|---|---|---|", *_rows])
}

html_theme = "furo"
html_title = f"netdial {version}"
html_static_path = ["_static"]
html_show_sphinx = False
