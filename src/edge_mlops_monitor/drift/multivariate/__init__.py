"""Comparisons of two samples of rows: several features together."""
