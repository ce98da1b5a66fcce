"""The strategies: each one file, written against `base.BaseStrategy`, pure and synchronous. See docs/strategies.md."""
