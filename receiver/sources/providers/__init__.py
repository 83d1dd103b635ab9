"""The providers that are built in, one file each, and how any is found by its name."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from receiver.errors import SettingsError
from receiver.sources.base import Provider
from receiver.sources.installed import brought, installed, load
from receiver.sources.providers.adyen import Adyen
from receiver.sources.providers.alipay import Alipay
from receiver.sources.providers.braintree import Braintree
from receiver.sources.providers.checkout_com import CheckoutCom
from receiver.sources.providers.coinbase_commerce import CoinbaseCommerce
from receiver.sources.providers.flutterwave import Flutterwave
from receiver.sources.providers.github import GitHub
from receiver.sources.providers.gocardless import GoCardless
from receiver.sources.providers.hmac import Hmac
from receiver.sources.providers.klarna import Klarna
from receiver.sources.providers.lemonsqueezy import LemonSqueezy
from receiver.sources.providers.mercadopago import MercadoPago
from receiver.sources.providers.midtrans import Midtrans
from receiver.sources.providers.mollie import Mollie
from receiver.sources.providers.paddle import Paddle
from receiver.sources.providers.paypal import PayPal
from receiver.sources.providers.paystack import Paystack
from receiver.sources.providers.razorpay import Razorpay
from receiver.sources.providers.shopify import Shopify
from receiver.sources.providers.square import Square
from receiver.sources.providers.standardwebhooks import StandardWebhooks
from receiver.sources.providers.stripe import Stripe
from receiver.sources.providers.toss import Toss
from receiver.sources.providers.unionpay import UnionPay
from receiver.sources.providers.wechatpay import WeChatPay
from receiver.sources.providers.wise import Wise
from receiver.sources.providers.xendit import Xendit

PROVIDERS: Final[Mapping[str, type[Provider]]] = {
    provider.name: provider
    for provider in (
        Adyen,
        Alipay,
        Braintree,
        CheckoutCom,
        CoinbaseCommerce,
        Flutterwave,
        GitHub,
        GoCardless,
        Hmac,
        Klarna,
        LemonSqueezy,
        MercadoPago,
        Midtrans,
        Mollie,
        Paddle,
        PayPal,
        Paystack,
        Razorpay,
        Shopify,
        Square,
        StandardWebhooks,
        Stripe,
        Toss,
        UnionPay,
        WeChatPay,
        Wise,
        Xendit,
    )
}
"""Built in, by name."""


def is_built_in(provider: type[Provider]) -> bool:
    """Whether the class is one of ours, and not from another package."""
    return PROVIDERS.get(provider.name) is provider


def provider_names() -> list[str]:
    """Of all that are built in or installed, in alphabetical order."""
    return sorted({*PROVIDERS, *installed()})


def find_provider(name: str) -> type[Provider]:
    """The provider called `name`.

    Raises:
        SettingsError: there is none, what is installed under that name is none, or it has a built-in one's name.
    """
    if name in PROVIDERS:
        if name in installed():
            raise SettingsError(f"provider: {name!r} is built in; {brought(name)} needs another name")
        return PROVIDERS[name]
    if name in installed():
        return load(name)
    names = provider_names()
    near = get_close_matches(name, names, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise SettingsError(f"provider: {name!r} is none of {', '.join(names)}{meant}")


def made_up(name: str) -> dict[str, object]:
    """The section of a settings file for one source of `name`, with keys of our own making. Raises SettingsError."""
    return {"provider": name, **find_provider(name).made_up()}
