"""Errors as problem details (RFC 9457): one status for a reason, the members that clients rely on, nothing else."""

import json

import pytest

from receiver.errors import ReceiverError, VerificationError
from receiver.ingress.answers import failure, success
from receiver.ingress.problems import PROBLEMS, problem, status_of
from receiver.sources import Ack


@pytest.mark.parametrize("reason", [*PROBLEMS, "signature_mismatch"])
def test_members(reason: str) -> None:
    said = json.loads(problem(reason, {}))
    assert said.pop("title")
    assert said == {"type": f"urn:receiver:problem:{reason}", "status": status_of(reason), "reason": reason}


def test_a_provider_adds_members_of_its_own() -> None:
    assert json.loads(problem("overloaded", {"code": "FAIL"}))["code"] == "FAIL"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("signature_missing", 401),
        ("timestamp_expired", 401),
        ("source_unknown", 404),
        ("method_not_allowed", 405),
        ("body_timeout", 408),
        ("body_too_large", 413),
        ("head_timeout", 408),
        ("head_too_large", 431),
        ("body_compressed", 415),
        ("overloaded", 503),
        ("outcome_unknown", 503),
        ("store_unavailable", 503),
        ("store_refused", 503),
        ("internal", 503),
    ],
)
def test_statuses(reason: str, status: int) -> None:
    assert status_of(reason) == status


@pytest.mark.parametrize("error", [kind for kind in ReceiverError.__subclasses__() if kind is not VerificationError])
def test_only_a_failed_verification_may_go_without_an_entry(error: type[ReceiverError]) -> None:
    """What is not listed is answered 401, which would be a lie about an error that ingress can meet."""
    met = {"outcome_unknown", "store_unavailable", "store_refused", "overloaded"}
    met |= {"body_too_large", "body_timeout", "body_compressed", "head_too_large", "head_timeout"}
    assert error.reason not in met or error.reason in PROBLEMS


@pytest.mark.parametrize("reason", [reason for reason, (status, _) in PROBLEMS.items() if status == 503])
def test_what_may_pass_says_when_to_call_again(reason: str) -> None:
    assert (b"retry-after", b"5") in failure(reason, None).headers


@pytest.mark.parametrize("reason", ["body_too_large", "body_timeout", "body_compressed"])
def test_an_unread_body_ends_the_connection(reason: str) -> None:
    assert b"connection: close" in failure(reason, None).wire


def test_405_says_what_is_allowed() -> None:
    assert (b"allow", b"POST") in failure("method_not_allowed", None).headers


def test_success_on_the_wire() -> None:
    assert success(Ack(status=204)).wire == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert success(Ack(status=200)).wire == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    assert success(Ack(status=200, body=b"success", content_type="text/plain")).last_wire == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nsuccess"
    )
