"""Fine-tuning of XTTS: ``python -m training.xtts RUN_DIR``."""
