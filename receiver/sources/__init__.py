"""Providers and the accounts configured of them: from raw bytes to verified facts, without any input or output.

Reading order: `base` (what a provider is), `signatures`, `documents`, `forms`, `times`, `keys` (what schemes share),
`stripe`, `standardwebhooks`, `alipay`, `wechatpay` (the schemes), `given` and `configured` (settings to sources),
`template`, `samples`, `demo_keys` (callbacks of our own making).
"""

from receiver.sources.base import Ack, Provider, Setting, Signed
from receiver.sources.configured import PROVIDERS, Source, build_sources
from receiver.sources.demo_keys import MADE_UP

__all__ = ["MADE_UP", "PROVIDERS", "Ack", "Provider", "Setting", "Signed", "Source", "build_sources"]
