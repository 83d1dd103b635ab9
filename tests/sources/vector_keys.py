"""The keys of a vector as settings of ours."""

from collections.abc import Mapping

from receiver.sources.options import Option

OTHER_KEY = "also_valid_with"


def options(provider: str, keys: Mapping[str, object]) -> dict[str, Option]:
    """The vector's keys as settings, told apart by what they are rather than by how the file names them."""
    given = {name: value for name, value in keys.items() if name != OTHER_KEY}
    values = [item for value in given.values() for item in (value if isinstance(value, list) else [value])]
    texts = [value for value in values if isinstance(value, str)]
    if provider == "standardwebhooks":
        public = tuple(text for text in texts if text.startswith("whpk_"))
        return {"secrets": tuple(text for text in texts if text not in public), "public_keys": public}
    if provider == "alipay":
        return {"public_key": tuple(texts)}
    if provider == "unionpay":
        return {"roots": (str(keys["root_pem"]),), "intermediates": (str(keys["intermediate_pem"]),)}
    if provider == "wechatpay":
        return wechatpay_options(given)
    if provider == "wise":
        return {"public_key": tuple(texts)}
    if provider == "square":
        return {"secrets": str(keys["signature_key"]), "notification_url": str(keys["notification_url"])}
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
