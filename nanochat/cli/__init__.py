"""The commands of ``nanochat``, one file for each kind. Each imports what it needs at use."""
