"""The commands of ``fractal-ray``, one file a command. Each imports its heavy modules at use."""
