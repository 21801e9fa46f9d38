"""The command ``fractal-ray``, also as ``python -m fractal_ray``."""


def main() -> None:
    """Run the command line; signals stop it from the time when its modules are loaded."""
    from nanochat.cli.stop_signals import stop_signals

    with stop_signals():
        from fractal_ray.cli.main import main as command

        command()


if __name__ == "__main__":
    main()
