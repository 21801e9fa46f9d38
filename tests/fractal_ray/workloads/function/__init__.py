"""Tests of the workload `function`."""
