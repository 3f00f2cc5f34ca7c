"""Exit codes of the commands in this package; the chart's Job template knows them (charts/kubevoice, _job.tpl)."""

BAD_CONFIGURATION = 42
"""Settings, files or data that another try would not change."""

OUT_OF_GPU_MEMORY = 43
STOPPED = 143
"""128 + SIGTERM: told to stop, and everything is saved."""
