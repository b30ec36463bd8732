"""Sinks that are buckets, through obstore: `S3` and whatever speaks its protocol (MinIO, Ceph, R2, Garage).

obstore's own retries are off, since the uploader backs off itself. obstore shows no response headers, so a
`Retry-After` cannot be read: a server that asks for patience (429, 503) is left alone for a fixed while.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import timedelta
from typing import Any

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Answer, Conflict, Never, TryAgain

PATIENCE_SECONDS = 10.0  # after 429 and 503, whose Retry-After obstore does not show

# obstore's threads do not survive a fork, and no call of it ever returns in the child of a process that
# used it: this remembers which process did.
_used_by_process = 0

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")

# Codes of S3 that say more than their HTTP status.
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_PASSING = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "OperationAborted"}
_OURS_TO_REPAIR = {
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidToken",
    "NoSuchBucket",
    "PermanentRedirect",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_NEVER = {400, 411, 413, 414, 415, 422, 431}
_BUSY = {408, 409, 412, 423, 425, 429}
_REDIRECTS = {302, 303, 307, 308}  # without a word of the store: a captive portal


class S3:
    """Puts objects into an S3 bucket, create-only.

    Without `access_key_id` and `secret_access_key` the environment's `AWS_ACCESS_KEY_ID` and
    `AWS_SECRET_ACCESS_KEY` are used; the machine's role is asked for only with `instance_metadata=True`,
    since on a device outside Amazon that question hangs. `endpoint_url` may begin with `http://`.
    `timeout_seconds` bounds one object, from connecting to the answer.

    >>> S3("telemetry", endpoint_url="http://127.0.0.1:9000", access_key_id="a", secret_access_key="b")
    S3(bucket='telemetry', prefix='', endpoint_url='http://127.0.0.1:9000')
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str = "",
        region: str = "",
        access_key_id: str = "",
        secret_access_key: str = "",
        session_token: str = "",
        instance_metadata: bool = False,
        create_only: bool = True,
        connect_timeout_seconds: float = 10.0,
        timeout_seconds: float = 120.0,
    ) -> None:
        if not bucket:
            raise ValueError("the sink 's3' has no bucket; name the bucket to upload to")
        if "//" in prefix:
            raise ValueError(f"prefix is {prefix!r}, which has an empty part; write it with single slashes")
        env = os.environ
        self.bucket = bucket
        self.prefix = prefix.lstrip("/")
        endpoint_url = endpoint_url or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
        self.endpoint_url = endpoint_url.rstrip("/")
        if self.endpoint_url and not self.endpoint_url.startswith(("http://", "https://")):
            raise ValueError(f"endpoint_url is {self.endpoint_url!r}; write it with https:// (or http://)")
        self.region = region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        self.instance_metadata = instance_metadata
        self.create_only = create_only
        self.timeout_seconds = timeout_seconds
        self.connect_timeout_seconds = connect_timeout_seconds
        self._credentials = _credentials(access_key_id, secret_access_key, session_token)
        self._store: S3Store | None = None
        self._pid = 0

    def __repr__(self) -> str:  # never the credentials
        return f"S3(bucket={self.bucket!r}, prefix={self.prefix!r}, endpoint_url={self.endpoint_url!r})"

    def put(self, key: str, body: bytes, content_type: str) -> Answer:
        obstacle = self._obstacle()
        if obstacle:
            return TryAgain(obstacle, refused=True)
        path = self.prefix + key
        try:
            return self._put(path, body, content_type)
        except Exception as error:  # obstore raises ValueError and OSError too; no error may cost an object
            return self._meaning(error)

    def check(self) -> list[str]:
        obstacle = self._obstacle()
        if obstacle:
            return [obstacle]
        try:
            # Reading a key that does not exist tells a missing bucket, wrong credentials and a dead
            # link apart, and leaves nothing behind.
            self._client().get(f"{self.prefix}v1/check-{os.urandom(8).hex()}")
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                return [self._meaning(error).reason]
        except Exception as error:
            return [self._meaning(error).reason]
        return []

    def close(self) -> None:
        self._store = None

    def _put(self, path: str, body: bytes, content_type: str) -> Answer:
        client = self._client()
        if not self.create_only:
            existing = self._compared(path, body)
            if existing is not None:
                return existing
        try:
            mode: Any = "create" if self.create_only else "overwrite"
            attributes: Any = {"Content-Type": content_type}
            answer = client.put(path, body, attributes=attributes, mode=mode, use_multipart=False)
        except AlreadyExistsError:
            return self._compared(path, body) or TryAgain("another write to the same key is under way")
        except BaseError as error:
            if not (self.create_only and _status(error) == 501):
                raise
            self.create_only = False  # this server has no conditional writes: look first from now on
            return self._put(path, body, content_type)
        return self._verified(path, body, answer["e_tag"])

    def _verified(self, path: str, body: bytes, etag: str | None) -> Answer:
        """Believe an answer that carries the content's hash; otherwise look whether the object is there.

        A captive portal and some proxies answer every request with 200 and a page of their own.
        """
        if _is_hash(etag, body):
            return Accepted()
        try:
            if self._client().head(path)["size"] == len(body):
                return Accepted()
        except FileNotFoundError:
            pass
        return TryAgain(f"something answers in place of {self._where()}: what was put is not there")

    def _compared(self, path: str, body: bytes) -> Answer | None:
        """What the object that is already there means; None where there is none."""
        try:
            meta = self._client().head(path)
            if meta["size"] != len(body):
                return Conflict(f"{path} holds another content")
            if _is_hash(meta["e_tag"], body):
                return Accepted(existed=True)
            same = bytes(self._client().get(path).bytes()) == body
        except FileNotFoundError:
            return None
        except (PermissionDeniedError, UnauthenticatedError):
            return Never(
                f"{path} exists and may not be read, so that it cannot be compared; "
                "allow s3:GetObject for these credentials and send the dead letters again"
            )
        return Accepted(existed=True) if same else Conflict(f"{path} holds another content")

    def _client(self) -> S3Store:
        """Made by the thread and the process that uses it."""
        global _used_by_process
        if self._store is None or self._pid != os.getpid():
            _used_by_process = self._pid = os.getpid()
            self._store = S3Store(
                self.bucket,
                **self._options(),
                client_options={
                    "allow_http": self.endpoint_url.startswith("http://"),
                    "connect_timeout": timedelta(seconds=self.connect_timeout_seconds),
                    "timeout": timedelta(seconds=self.timeout_seconds),
                },
                retry_config={"max_retries": 0},
            )
        return self._store

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"region": self.region, **self._credentials}
        if self.endpoint_url:
            options["endpoint"] = self.endpoint_url
        options["virtual_hosted_style_request"] = not self.endpoint_url
        return options

    def _obstacle(self) -> str | None:
        """Why not even an attempt is made."""
        if _used_by_process not in (0, os.getpid()):
            return (
                "this process was forked from one that had uploaded to a bucket, and cannot do so itself; "
                "start the monitor after the fork, or let the agent upload"
            )
        if not self._credentials and not self.instance_metadata:
            return (
                f"there are no credentials for {self._where()}; set access_key_id and secret_access_key, "
                "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
            )
        return None

    def _where(self) -> str:
        return f"the bucket '{self.bucket}' at {self.endpoint_url or 'Amazon S3'}"

    def _meaning(self, error: Exception) -> TryAgain | Never:
        """What an error of obstore means for the object."""
        status, code = _status(error), _code(error)
        said = _said(error, status, code)
        where = self._where()
        if code in _CLOCK:
            remedy = "set the clock, for example by NTP"
            return TryAgain(f"{where} refuses this device's clock ({said}); {remedy}", refused=True)
        if code in _PASSING or (not code and status in _REDIRECTS) or status in _BUSY or (status or 0) >= 500:
            delay = PATIENCE_SECONDS if status in (429, 503) else None
            return TryAgain(f"{where} cannot take it now: {said}", delay)
        if code in _OURS_TO_REPAIR or _is_refusal(error, status, said):
            return TryAgain(f"{where} refuses: {said}; {_remedy(status, code)}", refused=True)
        if status in _NEVER:
            return Never(f"{where} will not take this object: {said}")
        return TryAgain(f"{where} cannot be reached: {said}")


def _credentials(key: str, secret: str, token: str) -> dict[str, str]:
    """Those given, else those of the environment; empty where there are none."""
    env = os.environ
    if not key and not secret:
        key, secret = env.get("AWS_ACCESS_KEY_ID", ""), env.get("AWS_SECRET_ACCESS_KEY", "")
        token = token or env.get("AWS_SESSION_TOKEN", "")
    if not key or not secret:
        return {}
    found = {"access_key_id": key, "secret_access_key": secret}
    return {**found, "session_token": token} if token else found


def _is_hash(etag: str | None, body: bytes) -> bool:
    """Whether an ETag is the MD5 of the content, as it is but for encryption by key service and multipart."""
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return (etag or "").strip('"') == digest


def _is_refusal(error: Exception, status: int | None, said: str) -> bool:
    if status is None:
        return "incorrectly configured region" in said or isinstance(error, (FileNotFoundError, ValueError))
    if status in _NEVER:
        return "<html" in str(error).lower()  # a proxy's page, not the store's word on this object
    return 300 <= status < 500


def _remedy(status: int | None, code: str) -> str:
    if status == 404 or code in ("NoSuchBucket", "InvalidBucketName"):
        return "create the bucket or correct its name and endpoint_url"
    if code in ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"):
        return "set the region of the bucket"
    if status in (401, 403) or code:
        return "correct the credentials, or give them s3:PutObject and s3:GetObject on the bucket"
    return "correct bucket, region and endpoint_url"


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found.group(1)) if found else None


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found.group(1) if found else ""


def _said(error: Exception, status: int | None, code: str) -> str:
    """The one sentence worth showing out of obstore's error, which carries the whole body."""
    text = str(error)
    message = _MESSAGE.search(text)
    parts = [str(status) if status else "", code, message.group(1) if message else ""]
    said = " ".join(part for part in parts if part)
    if not said or said == str(status):
        first = text.partition("\n\nDebug source")[0].rpartition(" - ")[2]
        first = first.partition("Server returned non-2xx status code: ")[2] or first
        said = re.sub(r"<[^>]*>", " ", first)
    return " ".join(_causes(text, said).split())[:240].rstrip(" :")


def _causes(text: str, said: str) -> str:
    """The innermost reason (refused, timed out, name not found) in place of "error sending request"."""
    if "ETag Header missing" in said:
        return "what answered is no object store, but perhaps a captive portal or a proxy"
    if "error sending request" not in said:
        return said
    for mark, words in (
        ("TimedOut", "no answer in time"),
        ("kind: Timeout", "no answer in time"),
        ("ConnectionRefused", "connection refused"),
        ("dns error", "the name of the host is not known"),
        ("certificate", "its certificate is not trusted"),
        ("ConnectionReset", "connection reset"),
        ("IncompleteMessage", "the connection ended before the answer"),
    ):
        if mark in text:
            return words
    return said
