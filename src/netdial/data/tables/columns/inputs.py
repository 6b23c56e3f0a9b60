"""What one column of a table becomes: numbers, one input for each text, or dates; learned once, applied to any rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from netdial.data.tables.columns.category import Category
from netdial.data.tables.columns.date import Date
from netdial.data.tables.columns.number import Number

Input = Annotated[Number | Category | Date, Field(discriminator="kind")]
"""What one column of a table becomes."""
