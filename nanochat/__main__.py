"""The command ``nanochat``, also as ``python -m nanochat``."""


def main() -> None:
    """Run the command line; signals stop it from the time when its modules are loaded."""
    from nanochat.cli.stop_signals import stop_signals

    with stop_signals():
        from nanochat.cli.main import main as command

        command()


if __name__ == "__main__":
    main()
