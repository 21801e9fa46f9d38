"""The version of this package, in a module that imports nothing.

Modules inside the package read it from here, so that none of them imports the package root.
"""

VERSION = "0.1.0"
"""Version number of fractal-ray, equal to the one in `pyproject.toml`."""
