"""Load tests with Locust: requests a second and latencies, compared honestly.

Speaks only the network: nothing of the library is imported here, so that any server can be a
target. `python -m loadtests --help` lists the commands; README.md beside this file is the method.
"""
