"""Where a vector's own verdict is not all that there is to say. `docs/reference/vectors.md` tells the same."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Exempt:
    """What becomes of one vector here."""

    status: int
    """What the running service answers."""
    aside: str | None = None
    """The reason with which it is kept in quarantine; None: it is not."""
    stored: int = 0
    """Events that are made of it."""
    why: str
    """One sentence."""


EXCEPTIONS: Mapping[str, Exempt] = {
    "alipay/sandbox_return_url_sync": Exempt(
        status=405,
        why="It is a buyer's browser that comes back to the shop by GET. The verifier finds it genuine; but "
        "callbacks come by POST, and nobody but the shop's own page should believe a browser.",
    ),
    "mercadopago/lowercase_id__body_changed_still_valid": Exempt(
        status=200,
        aside="entity_contradicts",
        why="The signature covers the id in the query and no body. Here the body names another id, so one of "
        "the two is not the provider's.",
    ),
    "razorpay/checkout_payment_link": Exempt(
        status=200,
        aside="json_invalid",
        why="It is the signature of a browser's return to the shop, whose text is no callback: genuine, and "
        "not to be read.",
    ),
    "razorpay/checkout_subscription": Exempt(
        status=200,
        aside="json_invalid",
        why="The same for a subscription.",
    ),
    "shopify/app_old_secret_rotation": Exempt(
        status=401,
        why="A form without `X-Shopify-Topic`. Every webhook of Shopify's has one, and without it nobody "
        "could say what it means.",
    ),
    "square/angle_brackets_unescaped": Exempt(
        status=200,
        aside="id_missing",
        why="The signature is genuine; but the body was made for a test of signatures and has no `event_id`.",
    ),
    "wechatpay/payscore_open_service_go__wrong_api_v3_key": Exempt(
        status=503,
        aside="resource_undecryptable",
        why="The signature is genuine, and what it covers cannot be decrypted with our key. To refuse it "
        "would lose it: it is kept whole, and asked for again until the key is right.",
    ),
    "wechatpay/resource_32byte_key_yansongda": Exempt(
        status=204,
        aside="id_missing",
        why="The signature is genuine and the resource decrypts, but to a certificate: it is an answer of "
        "WeChat Pay's API and no callback, and has no `id`.",
    ),
}
"""Vectors whose verdict is not ours, or not all of ours."""

UNDECIDED: Mapping[str, Exempt] = {
    "paddle/node_unknown_h2_scheme": Exempt(
        status=200,
        aside="id_missing",
        why="Paddle's own SDKs disagree on an item with an unknown name beside good ones: one takes it, one "
        "raises. Here unknown items are passed over, so that Paddle can bring in a new scheme; the body of "
        "the test has no `event_id`.",
    ),
    "paypal/signed_string_composition_2015": Exempt(
        status=503,
        why="Its certificate is not among its keys, and here there is nobody to fetch it from. What cannot "
        "be checked is neither genuine nor forged: PayPal is asked to call again.",
    ),
    "toss/payment_status_changed_unsigned": Exempt(
        status=200,
        stored=1,
        why='Toss signs no such event. A source takes it only with `verification = "none"`, and its trust is '
        "`none`: it has to be confirmed by a call to Toss.",
    ),
}
"""Vectors that force no verdict (`valid: null`)."""

CONSTRUCTED: Mapping[str, str] = {
    "checkout_com/payment_approved": "By Checkout.com's documentation: HMAC-SHA256 of the body, in hexadecimal.",
    "flutterwave/v3_verif_hash_static": "By the documentation: `verif-hash` is the secret hash itself. The body is "
    "a published example.",
    "flutterwave/v4_hmac_base64": "By third parties' code, which says HMAC-SHA256 of the body in Base64. "
    "Flutterwave's own page was not to be had: the weakest of all.",
    "klarna/payment_request_authorized": "By Klarna's documentation; that the signature is hexadecimal is known "
    "from a third party's plug-in alone.",
    "lemonsqueezy/order_created": "By Lemon Squeezy's own package for Laravel: HMAC-SHA256 of the body, in "
    "hexadecimal.",
    "lemonsqueezy/subscription_created": "The same.",
    "lemonsqueezy/subscription_payment_success": "The same.",
    "stripe/utf8_body": "Signed by Stripe's SDK; only the body, with letters beyond ASCII, was made up.",
    "toss/payout_changed_signed": "By Toss's answer in its developers' forum: HMAC-SHA256 of body and time, in "
    "Base64, two values behind `v1:`.",
    "unionpay/callback_frontback_2022__self_signed_impostor": "A forger's, who signs with a certificate of his own: "
    "it must be made up, and is refused.",
    "xendit/invoice_paid_static_token": "By the documentation: `x-callback-token` is the token itself.",
}
"""Vectors that somebody signed by a written rule, since no public one exists, each with the rule."""
