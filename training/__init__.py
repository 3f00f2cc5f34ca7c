"""Datasets and trainers: what runs as a Job beside serving, on the same volume."""
