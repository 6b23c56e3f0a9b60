"""Pages from templates: one HTML file each that opens from disk, holds all that draws it, and escapes everything from the run.

Templates lie beside the code that fills them. What they share, ``look.css`` above all, lies here and is found from anywhere.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from netdial.report.terms import TERMS
from netdial.report.text import number

SIZES = ("size",)
"""Script of a page with a slider over what was left of one network."""

LIVE = ("live",)
"""Script of a page that a server gives."""

CHARTS = ("format", "axes", "chart", "hover")
"""Scripts that draw figures, in the order in which they need each other."""

TERM = ("terms",)
"""Script that explains terms, on every page."""

DIAL = ("member", "dial")
"""Scripts of a page whose figures follow a slider, after those."""


@dataclass(frozen=True)
class Tile:
    """One number of the answer box, with the words above and below it; ``part`` says which of `standing.TITLES` it is."""

    title: str
    value: str
    note: str
    part: str = ""


def fill(package: str, template: str, /, **values: Any) -> str:
    """Returns a page as HTML.

    Args:
        package: where the template lies, for example ``netdial.report``.
        template: its file.
        values: what the template names, besides the scripts; one that is missing is an error.
    """
    return (
        _templates(package)
        .get_template(template)
        .render(
            charts=script(*CHARTS),
            explaining=script(*TERM),
            terms={key: asdict(term) for key, term in TERMS.items()},
            turning=script(*DIAL),
            sizing=script(*SIZES),
            asking=script(*LIVE),
            **values,
        )
    )


@cache
def script(*names: str) -> str:
    """Returns scripts of ``report/browser``, one after the other."""
    place = resources.files("netdial.report").joinpath("browser")
    return "\n".join(place.joinpath(f"{name}.js").read_text("utf-8") for name in names)


@cache
def _templates(package: str) -> jinja2.Environment:
    """Returns the templates of a package; each is compiled once."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(partial(_read, package)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "flags": flags}
    return made


def flags(text: str) -> Markup:
    """Returns text as HTML in which no flag of the command line is broken at the end of a line.

    >>> flags("a < b: netdial evaluate x --rivals")
    Markup('a &lt; b: netdial evaluate x <span class="kept">--rivals</span>')
    """
    return Markup(
        re.sub(r"(?<![^\s(])--[\w-]+", r'<span class="kept">\g<0></span>', str(escape(text)))
    )


def _read(package: str, name: str) -> str | None:
    """Returns the text of a template in a package or else here, or None when there is none."""
    for place in (package, "netdial.report"):
        file = resources.files(place).joinpath(name)
        if file.is_file():
            return file.read_text("utf-8")
    return None
