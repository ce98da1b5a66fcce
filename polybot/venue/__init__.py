"""Where orders are matched: the protocol agents see, the paper venue behind it, and later the real one."""
