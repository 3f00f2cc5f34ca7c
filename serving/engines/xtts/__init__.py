"""XTTS v2: multilingual speech that clones a voice from seconds of reference audio."""

from serving.engines.xtts.engine import XttsEngine
from serving.engines.xtts.options import XttsOptions

__all__ = ["XttsEngine", "XttsOptions"]
