"""Written text as it is spoken: numbers, dates, money and abbreviations in words.

``normalise`` is a pure function that takes time linear in the length of the text. XTTS' training and every engine
read texts by it. ``edition`` tells what was read by another one.
"""

from serving.engines.normalisation.edition import edition
from serving.engines.normalisation.normalise import LANGUAGES, normalise

__all__ = ["LANGUAGES", "edition", "normalise"]
