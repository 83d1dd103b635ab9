"""Bodies for `receiver send`, the demo and tests: one file for each provider, all made up, nothing recorded."""
