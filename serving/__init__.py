"""kubevoice serving: XTTS speech and RVC conversion behind one HTTP ingress on Ray Serve."""

__version__ = "0.1.0"
