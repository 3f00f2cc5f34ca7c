"""From recordings to clips with their text: ``python -m training.dataset``."""
