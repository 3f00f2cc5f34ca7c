"""Decode, encode, resample and stretch audio: mono float32 in numpy, PyAV and soxr underneath."""
