"""Why a release stops."""

from __future__ import annotations


class Problem(Exception):
    """What is wrong and what to do about it, in one sentence."""
