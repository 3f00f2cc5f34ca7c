"""Written text as it is spoken: numbers, dates, money and abbreviations in words.

``normalise`` is a pure function that takes time linear in the length of the text. XTTS' training and every engine
read texts by it.
"""

from serving.engines.normalisation.normalise import LANGUAGES, normalise

__all__ = ["LANGUAGES", "normalise"]
