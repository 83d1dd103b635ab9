"""What an operator's question may end in, beside the errors of the layers below."""

from receiver.errors import ReceiverError


class EventUnknown(ReceiverError):
    """There is no such event, or more than one. The message says which ids there are."""

    reason = "event_unknown"


class NothingToReplay(ReceiverError):
    """No dispatch fits."""

    reason = "nothing_to_replay"


class AgainNeeded(ReceiverError):
    """What succeeded would be run again, and nobody said that this is meant."""

    reason = "again_needed"


class ReplayUnknown(ReceiverError):
    """There is no such replay."""

    reason = "replay_unknown"


class ReplayOver(ReceiverError):
    """A replay that is done or cancelled cannot be changed."""

    reason = "replay_over"


class RateWrong(ReceiverError):
    """No replay can go at this rate."""

    reason = "replay_rate"


class RequestUnreadable(ReceiverError):
    """A captured callback is neither the JSON form nor raw HTTP, or cannot be read."""

    reason = "request_unreadable"


class PayloadWrong(ReceiverError):
    """What should be sent cannot be made: an unknown sample, a path that leads nowhere."""

    reason = "payload"


class RedisUnavailable(ReceiverError):
    """Redis cannot be reached. Only `receiver doctor` minds."""

    reason = "redis_unavailable"
