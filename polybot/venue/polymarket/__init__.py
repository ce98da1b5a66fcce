"""Polymarket itself: its frames and metadata as domain values; field names are known in the wire files only."""
