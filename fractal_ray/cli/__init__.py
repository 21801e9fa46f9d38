"""The commands of ``fractal-ray``, one file for each kind. Each imports what it needs at use."""
