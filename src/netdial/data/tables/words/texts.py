"""Words as a program writes them: 1.0 and 1, TRUE and true; and those that stand for a missing value."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_WHOLE_AS_FLOAT = re.compile(r"(-?[1-9]\d*|0)\.0")
"""A whole number as it is written among numbers with fractions."""

_NOT_GIVEN = "na n/a #n/a <na> nan nat null none nil ? - -- . – — −"

MISSING_WORDS = frozenset(("", *_NOT_GIVEN.split()))
"""Words, in small letters, that stand for a missing value among numbers and dates."""


def text_of(value: object) -> str:
    """Returns a cell as text: whole numbers without a decimal point, so that 1.0 and 1 are the same."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def plainly(word: str) -> str:
    """Returns a text as a program writes what it means: whole numbers, truth values, one blank, letters with their accents.

    >>> [plainly(word) for word in ("1.0", "TRUE", "1.10", "01.0", "Bad\u00a0 Ems", "Ko\u0308ln")]
    ['1', 'True', '1.10', '01.0', 'Bad Ems', 'Köln']
    """
    word = " ".join(unicodedata.normalize("NFC", word).split())
    if _WHOLE_AS_FLOAT.fullmatch(word):
        return word[:-2]
    return word.capitalize() if word.lower() in ("true", "false") else word


def look_alike(texts: Iterable[str]) -> str:
    """Returns the first texts that differ in small and capital letters alone, or in spelling; nothing if none do.

    >>> look_alike(["Male", "female", "male", "1", "1.0"]), look_alike(["a", "b"])
    ("'Male' and 'male', '1' and '1.0'", '')
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        found.setdefault(plainly(text).casefold(), []).append(text)
    alike = [names for names in found.values() if len(names) > 1]
    return ", ".join(" and ".join(map(repr, names)) for names in alike[:3])


def other_spellings(words: Iterable[str | None], known: Collection[str]) -> dict[str, str]:
    """Returns which known text each of some that are none means: 1 for 1.0, True for TRUE, where only one is so spelled.

    >>> other_spellings(["1", "TRUE", "west", None, "2.0"], ["1.0", "True", "2", "2.0"])
    {'1': '1.0', 'TRUE': 'True'}
    """
    spelled = [(plainly(word), word) for word in known]
    count = Counter(plain for plain, _ in spelled)
    once = {plain: word for plain, word in spelled if count[plain] == 1}
    new = [word for word in dict.fromkeys(words) if word is not None and word not in known]
    return {word: once[plainly(word)] for word in new if plainly(word) in once}
