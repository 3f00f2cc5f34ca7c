"""What Kubernetes' own schemas do not know: the fields of custom resources, strict."""
