"""What `receiver doctor` asks Redis or Valkey."""

import msgspec

from receiver.marks.client import Client


class RedisHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One Redis or Valkey."""

    kind: str
    """`redis` or `valkey`."""
    version: str
    major: int
    maxmemory: int
    """Bytes; 0: no limit of its own."""
    policy: str
    """What it does when that is full, such as `noeviction`."""


async def health(client: Client) -> RedisHealth:
    """Version and memory, from INFO, which every managed service allows. Raises what redis-py raises."""
    said = await client.info("server", "memory")
    kind = "valkey" if "valkey_version" in said else "redis"
    version = str(said.get(f"{kind}_version", "0"))
    return RedisHealth(
        kind=kind,
        version=version,
        major=int(version.partition(".")[0]),
        maxmemory=int(said.get("maxmemory", 0)),
        policy=str(said.get("maxmemory_policy", "unknown")),
    )
