"""The keys of a vector as settings of ours."""

from collections.abc import Callable, Mapping

from receiver.sources.options import Option

OTHER_KEY = "also_valid_with"


def settings(provider: str, keys: Mapping[str, object]) -> dict[str, object]:
    """The same as they stand in a settings file: a source of that provider."""
    given = {
        name: list(value) if isinstance(value, tuple) else value for name, value in options(provider, keys).items()
    }
    found = {name: value for name, value in given.items() if value}
    return {"provider": provider, **found, **({} if found else {"verification": "none"})}


def options(provider: str, keys: Mapping[str, object]) -> dict[str, Option]:
    """The vector's keys as settings, told apart by what they are rather than by how the file names them."""
    if provider in BY_NAME:
        return BY_NAME[provider](keys)
    given = {name: value for name, value in keys.items() if name != OTHER_KEY}
    values = [item for value in given.values() for item in (value if isinstance(value, list) else [value])]
    texts = [value for value in values if isinstance(value, str)]
    if provider == "standardwebhooks":
        public = tuple(text for text in texts if text.startswith("whpk_"))
        return {"secrets": tuple(text for text in texts if text not in public), "public_keys": public}
    if provider == "wechatpay":
        return wechatpay_options(given)
    if provider in {"alipay", "wise"}:
        return {"public_key": tuple(texts)}
    return {"secrets": tuple(texts)}


def wechatpay_options(given: Mapping[str, object]) -> dict[str, Option]:
    serial = next((str(value) for name, value in given.items() if "serial" in name or name.endswith("key_id")), "")
    by_serial: dict[str, str] = {}
    certificates: list[str] = []
    for value in given.values():
        if isinstance(value, Mapping):
            by_serial |= {str(name): str(key) for name, key in value.items()}
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "-----BEGIN" in text:
                if serial:
                    by_serial[serial] = text
                else:
                    certificates.append(text)
    secrets = tuple(str(value) for name, value in given.items() if "v3" in name.lower())
    found: dict[str, Option] = {"certificates": tuple(certificates), "public_keys": by_serial}
    return {**found, "api_v3_key": secrets} if secrets else found


def unionpay_options(keys: Mapping[str, object]) -> dict[str, Option]:
    return {"roots": (str(keys["root_pem"]),), "intermediates": (str(keys["intermediate_pem"]),)}


def paypal_options(keys: Mapping[str, object]) -> dict[str, Option]:
    """Whatever its address, the certificate is that of the vectors: it stands in the settings."""
    found: dict[str, Option] = {"webhook_id": (str(keys["webhook_id"]),)}
    if "cert_pem" in keys:
        address = "https://api.sandbox.paypal.com/v1/notifications/test"
        found["certificates"] = {address: f"{keys['cert_pem']}{keys['intermediate_pem']}"}
        found["roots"] = (str(keys["root_pem"]),)
    return found


def square_options(keys: Mapping[str, object]) -> dict[str, Option]:
    return {"secrets": str(keys["signature_key"]), "notification_url": str(keys["notification_url"])}


def braintree_options(keys: Mapping[str, object]) -> dict[str, Option]:
    return {"keys": {str(keys["public_key"]): str(keys["private_key"])}}


BY_NAME: Mapping[str, Callable[[Mapping[str, object]], dict[str, Option]]] = {
    "braintree": braintree_options,
    "paypal": paypal_options,
    "square": square_options,
    "unionpay": unionpay_options,
}
"""Those whose vectors call their keys by one name each."""
