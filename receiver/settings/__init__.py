"""What can be set, where it is read from, and how `env:` and `file:` references become secrets.

Reading order: `model` (every setting with its default; `shapes` checks URLs), `load` (files and environment
to a model; `variables` finds misspelt ones), `references` (`env:`, `file:`), `token_keys`.
"""

from receiver.settings.load import load, made
from receiver.settings.model import Settings, SourceSettings
from receiver.settings.references import resolve
from receiver.settings.shapes import without_password
from receiver.settings.token_keys import token_keys

__all__ = ["Settings", "SourceSettings", "load", "made", "resolve", "token_keys", "without_password"]
