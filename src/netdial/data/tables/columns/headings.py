"""Headings that say what a column holds: ids, codes, dates."""

from __future__ import annotations

import re

_PLAIN_ID = re.compile(
    r"(.*[_ .-])?(id|uuid|guid)|index|row([_ .-]?(names?|num(ber)?|no|nr|id))?", re.I
)
_CAMEL_ID = re.compile(r".*[a-z](Id|ID)")
_CODE = re.compile(
    r"(?!.*of[_ .-]code)(.*[_ .-])?(zip|plz|postal|(zip|post|postal|area|country|product)?[_ .-]?code)([_ .-](postal|\d+))?",
    re.I,
)
_DATE = re.compile(r"(?i:^|[^a-z])(?i:date|day|when|dob|birthday)(?i:[^a-z]|$)|[a-z]Date([^a-z]|$)")


def is_id_name(name: str) -> bool:
    """Returns whether a name is one that ids and row numbers have.

    >>> [is_id_name(name) for name in ("id", "PassengerId", "customer_id", "humid", "grid")]
    [True, True, True, False, False]
    """
    return bool(_PLAIN_ID.fullmatch(name) or _CAMEL_ID.fullmatch(name))


def is_code_name(name: str) -> bool:
    """Returns whether a name is one that codes have.

    >>> [is_code_name(name) for name in ("zip", "area_code", "lines of code", "barcodes")]
    [True, True, False, False]
    """
    return bool(_CODE.fullmatch(name))


def is_date_name(name: str) -> bool:
    """Returns whether a name is one that dates have.

    >>> [is_date_name(name) for name in ("when", "Date of birth", "orderDate", "update", "today")]
    [True, True, True, False, False]
    """
    return bool(_DATE.search(name))
