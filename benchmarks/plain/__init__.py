"""Plain implementations of the published algorithms, for benchmarks to measure ours against."""
