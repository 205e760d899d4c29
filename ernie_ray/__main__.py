"""``python -m ernie_ray``: the same as ``ernie-ray``."""

from ernie_ray.cli import main

if __name__ == "__main__":
    main()
