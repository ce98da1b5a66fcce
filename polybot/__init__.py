"""PolyBot: a self-managing trading floor for Polymarket's short crypto binaries."""

__version__ = "0.1.0"
