"""Speaks jobs: no Ray, no HTTP."""
