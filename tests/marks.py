"""Marks that tests of several folders share."""

from __future__ import annotations

import pytest

may_be_useless = pytest.mark.filterwarnings(
    "ignore:the compressed network predicts:netdial.core.errors.MemberWarning"
)
"""Compressed networks of few bytes, or of a short training, that are made for what else is true of them."""
