"""fractal-ray: how far can a fine-tune be pushed before it breaks?

``from fractal_ray.sweep import Sweep`` runs and reads sweeps from Python; ``fractal-ray --help``
does the same from a shell. Nothing heavy is imported here, so that ``import fractal_ray`` is quick.
"""

__version__ = "0.1.0"
