"""Secrets out of a stream of bytes, in every form that a program is likely to print them in.

A leaf: it imports nothing of ours, so that launcher, agent and controller mask alike. Who has the
secrets builds a `MaskSet` of them once and a `Masker` per stream. It is a courtesy, not a
boundary: a program that wants to give a secret away can always write it in another way.
"""

from kronforce_redaction.forms import forms_of
from kronforce_redaction.masker import MASK, Masker, mask_bytes, mask_text
from kronforce_redaction.matching import MAX_PATTERNS, MaskSet

__all__ = ["MASK", "MAX_PATTERNS", "MaskSet", "Masker", "forms_of", "mask_bytes", "mask_text"]
