"""Sphinx: MyST pages, Furo theme, API from docstrings. A warning is an error (`make docs`)."""

from __future__ import annotations

from pydantic import BaseModel

import netdial
from netdial import FitConfig, ShrinkConfig
from netdial.cli.help import with_names
from netdial.cli.options import told
from netdial.data import TableOptions

project = "netdial"
author = "netdial contributors"
copyright = "2026, netdial contributors"
version = release = netdial.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist", "substitution"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def _table(settings: type[BaseModel]) -> str:
    """Returns the settings of a run as a table."""
    rows = [
        f"| `{name}` | `{field.default!r}` | {with_names(told(field))} |"
        for name, field in settings.model_fields.items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


myst_substitutions = {
    "settings": _table(FitConfig),
    "shrink_settings": _table(ShrinkConfig),
    "table_settings": _table(TableOptions),
}

html_theme = "furo"
html_title = f"netdial {version}"
html_static_path = ["_static"]
html_show_sphinx = False
