"""The commands of ``nanochat``, one file for each. Each imports its libraries at use."""
