"""Providers and the accounts configured of them: from raw bytes to verified facts, without any input or output.

Reading order: `base` (what a provider is), `signatures`, `documents`, `forms`, `times`, `keys` (what schemes share),
`layout` and `hmac_scheme` (what most of them are made of), `providers` (one file each), `given` and `configured`
(settings to sources), `template`, `samples`, `new_keys` (callbacks and keys of our own making).
"""

from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.configured import Source, build_sources
from receiver.sources.providers import PROVIDERS, find_provider, made_up, provider_names

__all__ = [
    "PROVIDERS",
    "About",
    "Ack",
    "Provider",
    "Setting",
    "Signed",
    "Source",
    "build_sources",
    "find_provider",
    "made_up",
    "provider_names",
]
