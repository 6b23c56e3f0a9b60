"""Libraries that only some sources of data need, imported when such a source is asked for.

scikit-learn, pandas, pyarrow and pillow come with the extra ``data``; none of them is imported
before it is used, so a plain ``import netdial.data`` costs torch and nothing else.
"""

from __future__ import annotations

import importlib
from typing import Any

from netdial.core import errors


def require(module: str, what: str) -> Any:
    """Returns the imported module, for example ``require("pyarrow.parquet", "reading Parquet")``.

    Raises:
        MissingExtra: if the library is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise errors.missing_extra(f"{what} ({module})", "data") from error
