"""What a provider of your own is made of: all of it is imported from here. See docs/guides/your-own-provider.md."""

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import documents, forms, keys, new_keys, options, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.template import Sample

__all__ = [
    "About",
    "Ack",
    "Callback",
    "Fact",
    "HmacProvider",
    "Layout",
    "Provider",
    "Sample",
    "Setting",
    "SettingsError",
    "Signed",
    "VerificationError",
    "documents",
    "forms",
    "keys",
    "new_keys",
    "options",
    "signatures",
    "times",
]
