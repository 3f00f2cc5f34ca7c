"""Pitch: the fundamental frequency that drives a voice, how it is found and how it is shaped."""
