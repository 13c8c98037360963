"""Helpers that belong to no single ring of the package."""

from glc._moved import forward

__getattr__ = forward(__name__)
