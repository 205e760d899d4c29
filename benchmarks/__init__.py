"""Side-by-side measurements in one process tree: `python -m benchmarks.NAME` or `make bench`."""
