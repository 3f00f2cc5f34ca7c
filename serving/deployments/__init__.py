"""Ray Serve deployments: the only place that imports ``ray.serve``."""
