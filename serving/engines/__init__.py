"""Engines: text to speech and voice conversion as a plain library, with no Ray, HTTP or Kubernetes."""
