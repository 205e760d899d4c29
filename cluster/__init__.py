"""What machines need before the library runs: images, environments, cluster files and their checks.

May import the library; nothing imports this package. `python -m cluster --help`.
"""
