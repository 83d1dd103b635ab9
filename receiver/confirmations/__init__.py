"""Which confirmation each source has, and those that come along: they ask the provider's API whether an event is so.

Reading order: `chosen` (from settings and decorators to one confirmation for each source), `api` (an API, within
bounds), then the providers: `mollie`, `mercadopago`, `paypal`.
"""

from receiver.confirmations.chosen import Confirmations

__all__ = ["Confirmations"]
