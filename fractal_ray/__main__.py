"""``python -m fractal_ray`` is ``fractal-ray``."""

from fractal_ray.cli.main import main

main()
