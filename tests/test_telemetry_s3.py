"""The S3 sink against a faulty server and against moto: what each answer means, and that it never hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from bucket_on_loopback import s3_server
from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Conflict, Never, TryAgain
from faulty_http_server import CAPTIVE_PORTAL, DROP, HANG, STORE_THEN_DROP, Answer, FaultyServer

pytest.importorskip("obstore", reason="the extra s3 is not installed")
from edge_mlops_monitor.telemetry.sinks.object_store import S3

KEYS: dict[str, Any] = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "not-a-secret"}


def sink(url: str, **keywords: Any) -> S3:
    return S3("bucket", endpoint_url=url, **KEYS, **keywords)


def said(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>About {code}.</Message></Error>"
    return Answer(status, {}, body.encode())


def put(fault: Any, **keywords: Any) -> Any:
    with FaultyServer(fault) as server:
        return sink(server.url, **keywords).put("v1/k", b"content", "application/gzip")


@pytest.mark.parametrize("status", [408, 409, 412, 429, 500, 502, 503, 504, 507])
def test_a_passing_trouble_is_tried_again(status: int) -> None:
    answer = put(Answer(status))
    assert isinstance(answer, TryAgain)
    assert not answer.refused


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_patience_gets_it(status: int) -> None:
    assert put(Answer(status, {"Retry-After": "7"})).delay >= 7


@pytest.mark.parametrize(
    "fault", [CAPTIVE_PORTAL, DROP, Answer(302, {"Location": "http://127.0.0.1:9/login"})]
)
def test_a_network_that_is_none_is_tried_again(fault: Any) -> None:
    answer = put(fault)
    assert isinstance(answer, TryAgain)
    assert not answer.refused


def test_a_portal_that_answers_everything_with_its_page_delivers_nothing() -> None:
    page = Answer(
        200, {"ETag": '"abc"', "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}, b"<html>Welcome</html>"
    )
    with FaultyServer(always=page) as server:
        answer = sink(server.url).put("v1/k", b"content", "application/gzip")
    assert isinstance(answer, TryAgain)
    assert "what was put is not there" in answer.reason


def test_an_answer_without_the_hash_is_believed_once_the_object_is_seen() -> None:
    with FaultyServer(Answer(200, {"ETag": '"of another sort"'})) as server:
        server.objects["bucket/v1/k"] = b"content"
        assert sink(server.url).put("v1/k", b"content", "application/gzip") == Accepted()
        assert [method for method, _ in server.requests] == ["PUT", "HEAD"]


def test_a_server_that_never_answers_is_left_in_time() -> None:
    began = time.monotonic()
    answer = put(HANG, timeout_seconds=1.0)
    assert isinstance(answer, TryAgain)
    assert "no answer in time" in answer.reason
    assert time.monotonic() - began < 30


def test_nobody_listening_and_an_unknown_host_are_told_apart() -> None:
    refused = sink("http://127.0.0.1:1").put("k", b"x", "text/plain")
    assert isinstance(refused, TryAgain)
    assert "connection refused" in refused.reason


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (Answer(401), "correct the credentials"),
        (said(403, "SignatureDoesNotMatch"), "correct the credentials"),
        (said(403, "AccessDenied"), "s3:PutObject"),
        (said(404, "NoSuchBucket"), "create the bucket"),
        (said(400, "ExpiredToken"), "correct the credentials"),
        (said(400, "AuthorizationHeaderMalformed"), "set the region"),
        (said(301, "PermanentRedirect"), "region"),
        (Answer(400, {}, b"<html>Bad gateway</html>"), "correct bucket"),
    ],
)
def test_what_somebody_must_repair_is_refused_with_the_remedy(answer: Answer, remedy: str) -> None:
    found = put(answer)
    assert isinstance(found, TryAgain)
    assert found.refused
    assert remedy in found.reason


def test_a_clock_that_is_off_is_said_clearly() -> None:
    answer = put(said(403, "RequestTimeTooSkewed"))
    assert isinstance(answer, TryAgain)
    assert "clock" in answer.reason
    assert "NTP" in answer.reason


@pytest.mark.parametrize(
    "answer", [said(400, "EntityTooLarge"), Answer(400), Answer(413), said(411, "MissingContentLength")]
)
def test_what_will_never_be_taken_is_not_tried_again(answer: Answer) -> None:
    assert type(put(answer)) is Never


def test_an_answer_lost_on_its_way_costs_no_second_object() -> None:
    with FaultyServer(STORE_THEN_DROP) as server:
        bucket = sink(server.url)
        assert isinstance(bucket.put("v1/k", b"content", "application/gzip"), TryAgain)
        assert bucket.put("v1/k", b"content", "application/gzip") == Accepted(existed=True)
        assert server.objects == {"bucket/v1/k": b"content"}


def test_one_attempt_is_one_request() -> None:
    with FaultyServer(always=Answer(503)) as server:
        sink(server.url).put("v1/k", b"content", "application/gzip")
        assert len(server.requests) == 1


def test_a_server_without_conditional_writes_is_looked_at_first() -> None:
    with FaultyServer(said(501, "NotImplemented")) as server:
        bucket = sink(server.url)
        assert bucket.put("v1/k", b"content", "application/gzip") == Accepted()
        assert isinstance(bucket.put("v1/k", b"another", "application/gzip"), Conflict)
        assert server.objects == {"bucket/v1/k": b"content"}


def test_an_existing_object_that_may_not_be_read_is_set_aside_not_guessed_at() -> None:
    with FaultyServer(None, Answer(412), Answer(403)) as server:
        bucket = sink(server.url)
        bucket.put("v1/k", b"content", "application/gzip")
        answer = bucket.put("v1/k", b"content", "application/gzip")
    assert type(answer) is Never
    assert "s3:GetObject" in answer.reason


def test_without_credentials_nothing_is_asked_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with FaultyServer() as server:
        bare = S3("bucket", endpoint_url=server.url)
        answer = bare.put("k", b"x", "text/plain")
        assert isinstance(answer, TryAgain)
        assert answer.refused
        assert "AWS_ACCESS_KEY_ID" in answer.reason
        assert "access_key_id" in bare.check()[0]
        assert server.requests == []
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        assert S3("bucket", endpoint_url=server.url).put("k", b"x", "text/plain") == Accepted()


def test_wrong_keywords_are_named_at_construction() -> None:
    with pytest.raises(ValueError, match="name the bucket"):
        S3("")
    with pytest.raises(ValueError, match="https://"):
        S3("bucket", endpoint_url="localhost:9000")
    with pytest.raises(ValueError, match="single slashes"):
        S3("bucket", prefix="site//")


def test_neither_a_sink_nor_its_errors_show_a_secret() -> None:
    bucket = sink("http://127.0.0.1:1")
    answer = bucket.put("k", b"x", "text/plain")
    assert KEYS["secret_access_key"] not in repr(bucket) + repr(answer)


def test_the_error_is_one_short_sentence_without_markup() -> None:
    body = b"<Error><Message>" + b"long " * 500 + b"</Message><Resource>/x</Resource></Error>"
    reason = put(Answer(403, {}, body)).reason
    assert len(reason) < 600
    assert "\n" not in reason
    assert "<" not in reason


FORKED = """
import os, sys
sys.path.insert(0, {tests!r})
from faulty_http_server import FaultyServer
from edge_mlops_monitor.telemetry.sinks.object_store import S3
with FaultyServer() as server:
    sink = S3("bucket", endpoint_url=server.url, access_key_id="a", secret_access_key="b")
    if {used}:
        sink.put("one", b"1", "text/plain")
    child = os.fork()
    if child == 0:
        answer = sink.put("two", b"2", "text/plain")
        print(type(answer).__name__, getattr(answer, "reason", ""), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(sorted(server.objects))
"""


@pytest.mark.parametrize(("used", "first"), [(True, "TryAgain this process was forked"), (False, "Accepted")])
def test_a_forked_child_never_hangs(used: bool, first: str) -> None:
    script = FORKED.format(tests=os.path.dirname(__file__), used=used)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(first)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    with s3_server() as url:
        yield url


def request(method: str, url: str, body: bytes = b"") -> None:
    headers = {"Content-Type": "text/plain"}
    asked = urllib.request.Request(url, data=body, method=method, headers=headers)
    urllib.request.urlopen(asked, timeout=10).close()


def test_objects_arrive_in_a_real_bucket_under_their_keys(moto: str) -> None:
    request("PUT", f"{moto}/bucket")
    bucket = sink(moto, prefix="site a/")
    assert bucket.check() == []
    assert bucket.put("v1/kind=events/dt=2026-01-01/k", b"content", "application/gzip") == Accepted()
    assert bucket.put("v1/kind=events/dt=2026-01-01/k", b"content", "application/gzip") == Accepted(
        existed=True
    )
    assert isinstance(bucket.put("v1/kind=events/dt=2026-01-01/k", b"another", "application/gzip"), Conflict)


def test_a_bucket_that_does_not_exist_is_named(moto: str) -> None:
    missing = S3("missing", endpoint_url=moto, **KEYS)
    answer = missing.put("k", b"x", "text/plain")
    assert isinstance(answer, TryAgain)
    assert answer.refused
    assert "NoSuchBucket" in answer.reason
    assert "create the bucket" in missing.check()[0]


def test_wrong_credentials_are_refused_by_a_real_bucket_and_named(moto: str) -> None:
    request("PUT", f"{moto}/guarded")
    request("POST", f"{moto}/moto-api/reset-auth", b"0")  # from now on moto looks at credentials
    try:
        guarded = S3("guarded", endpoint_url=moto, **KEYS)
        answer = guarded.put("k", b"x", "text/plain")
        findings = guarded.check()
    finally:
        request("POST", f"{moto}/moto-api/reset-auth", b"inf")
    assert isinstance(answer, TryAgain)
    assert answer.refused
    assert "InvalidAccessKeyId" in answer.reason
    assert "correct the credentials" in findings[0]
