"""Users' objects: one suite over memory and S3 (on moto), and what only S3 answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from hephaestus import InvalidItems, Items
from hephaestus.adapters.folder_objects import FolderObjects
from hephaestus.adapters.memory.objects import MemoryObjects
from hephaestus.adapters.s3_objects import S3Objects
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import EngineError, StoreUnavailable
from hephaestus.runtime.objects import ObjectPin, UnreadableObject
from hephaestus.runtime.sources import Scan, Sources

if TYPE_CHECKING:
    from pathlib import Path

    from hephaestus.runtime.objects import Objects

PLAIN, VERSIONED, KEY = "plain", "versioned", "folder/parcels 1.jsonl"
PIN = ObjectPin('"e"', 100)


class Place:
    """Two buckets, one with versioning if there is any, and what reads them."""

    objects: Objects
    versions = True

    def put(self, bucket: str, data: bytes, **more: str) -> None:
        """Put an object under ``KEY``."""
        raise NotImplementedError

    def delete(self, bucket: str) -> None:
        """Delete it."""
        raise NotImplementedError


class InMemory(Place):
    """In memory."""

    def __init__(self) -> None:
        self.objects: MemoryObjects = MemoryObjects([VERSIONED])

    def put(self, bucket: str, data: bytes, **_more: str) -> None:
        self.objects.put(bucket, KEY, data)

    def delete(self, bucket: str) -> None:
        self.objects.delete(bucket, KEY)


class InFolder(Place):
    """In a folder, where nothing has versions."""

    versions = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: FolderObjects = FolderObjects(folder)

    def put(self, bucket: str, data: bytes, **_more: str) -> None:
        path = self.folder / bucket / KEY
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name("new")
        new.write_bytes(data)
        new.replace(path)

    def delete(self, bucket: str) -> None:
        (self.folder / bucket / KEY).unlink(missing_ok=True)


class OnS3(Place):
    """On S3."""

    def __init__(self) -> None:
        client = LazyClient("s3")
        self.objects = S3Objects(client)
        self.s3: Any = client.get()
        for name in (PLAIN, VERSIONED):
            self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        self.version("Enabled")

    def version(self, status: str) -> None:
        """Switch the versioning of the one bucket."""
        self.s3.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": status})

    def put(self, bucket: str, data: bytes, **more: str) -> None:
        self.s3.put_object(Bucket=bucket, Key=KEY, Body=data, **more)

    def delete(self, bucket: str) -> None:
        self.s3.delete_object(Bucket=bucket, Key=KEY)


@pytest.fixture
def s3(moto_in_process: None) -> OnS3:
    """S3."""
    return OnS3()


@pytest.fixture(params=["memory", "folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Each in its turn."""
    if request.param == "folder":
        return InFolder(tmp_path)
    on_s3: OnS3 | None = request.getfixturevalue("s3") if request.param == "s3" else None
    return on_s3 or InMemory()


both = pytest.mark.parametrize("bucket", [PLAIN, VERSIONED])


@both
def test_a_part_of_an_object_is_read(place: Place, bucket: str) -> None:
    place.put(bucket, b"0123456789")
    pin = place.objects.look(bucket, KEY)
    assert pin.size == 10
    assert (pin.version_id is not None) == (place.versions and bucket == VERSIONED)
    parts = [place.objects.read(bucket, KEY, pin, *part) for part in ((0, 10), (3, 4), (9, 1))]
    assert parts == [b"0123456789", b"3456", b"9"]


@both
def test_an_object_that_is_missing_is_named(place: Place, bucket: str) -> None:
    with pytest.raises(UnreadableObject, match=rf"^s3://{bucket}/{KEY}: there is no such object"):
        place.objects.look(bucket, KEY)


def test_a_bucket_that_is_missing_is_named(place: Place) -> None:
    with pytest.raises(UnreadableObject, match=r"^s3://nothing/x: there is no such object, or no such bucket"):
        place.objects.look("nothing", "x")


@pytest.mark.parametrize("how", ["put", "delete"])
def test_of_a_bucket_without_versioning_only_the_object_that_was_pinned_is_read(place: Place, how: str) -> None:
    """One of the same size does not take its place unnoticed."""
    place.put(PLAIN, b"0123456789")
    pin = place.objects.look(PLAIN, KEY)
    place.put(PLAIN, b"9876543210") if how == "put" else place.delete(PLAIN)
    with pytest.raises(UnreadableObject, match=rf"^s3://{PLAIN}/{KEY}: the object was replaced or deleted while"):
        place.objects.read(PLAIN, KEY, pin, 2, 3)


@pytest.mark.parametrize("how", ["put", "delete"])
def test_of_a_bucket_with_versioning_the_version_that_was_pinned_is_read(place: Place, how: str) -> None:
    place.put(VERSIONED, b"0123456789")
    pin = place.objects.look(VERSIONED, KEY)
    place.put(VERSIONED, b"new") if how == "put" else place.delete(VERSIONED)
    if not place.versions:
        with pytest.raises(UnreadableObject, match="a bucket with versioning keeps the version that is read"):
            place.objects.read(VERSIONED, KEY, pin, 2, 3)
        return
    assert place.objects.read(VERSIONED, KEY, pin, 2, 3) == b"234"


@both
def test_the_same_bytes_are_the_same_object(place: Place, bucket: str) -> None:
    """They are put again, as by a job that is repeated."""
    place.put(bucket, b"0123456789")
    pin = place.objects.look(bucket, KEY)
    place.put(bucket, b"0123456789")
    assert place.objects.read(bucket, KEY, pin, 2, 3) == b"234"


@both
def test_a_scan_and_its_leaves_read_what_was_pinned(place: Place, bucket: str) -> None:
    """Over blocks of a few bytes; what is changed between two of them is noticed, or does not matter."""
    data = b"".join(b'{"n": %d}\r\n' % number for number in range(250))
    items = Items.s3(bucket, KEY)
    sources = Sources(place.objects, block=300, longest_line=20)
    place.put(bucket, data)
    scan, first = sources.scan(sources.begin(items, 2), lambda _: False)
    assert (scan.done, first, scan.at) == (False, (), len(data[:300].rpartition(b"\n")[0]) + 1)
    whole, groups = sources.scan(Scan.from_json(scan.to_json()), lambda _: True)
    assert whole.done
    leaves = [leaf for group in groups for leaf in group]
    assert [list(sources.read(whole.source, leaf, n * 2).items) for n, leaf in enumerate(leaves)] == [
        [{"n": n * 2}, {"n": n * 2 + 1}] for n in range(125)
    ]
    place.put(bucket, data[::-1])
    if bucket == VERSIONED and place.versions:
        assert sources.scan(scan, lambda _: True) == (whole, groups)
        assert sources.read(whole.source, leaves[3], 6).items == [{"n": 6}, {"n": 7}]
    else:
        for read in (lambda: sources.scan(scan, lambda _: True), lambda: sources.read(whole.source, leaves[3], 6)):
            with pytest.raises(UnreadableObject, match="replaced or deleted"):
                read()


def test_an_object_without_bytes_has_no_items(place: Place) -> None:
    place.put(PLAIN, b"")
    sources = Sources(place.objects)
    scan, groups = sources.scan(sources.begin(Items.s3(PLAIN, KEY), 100), lambda _: True)
    assert (scan.done, scan.total, groups) == (True, 0, ())
    with pytest.raises(InvalidItems, match=rf"^s3://{PLAIN}/{KEY} is empty: a CSV has a header in its first line"):
        sources.scan(sources.begin(Items.s3(PLAIN, KEY, format="csv"), 100), lambda _: True)


# --- What only a folder has ---


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "/etc/passwd", "a//b", ".", "a\0b", ""])
@pytest.mark.parametrize("bucket", ["plain", "..", ".", "plain/..", ""])
def test_nothing_outside_of_a_bucket_s_folder_is_read(bucket: str, key: str, tmp_path: Path) -> None:
    """A key is no path."""
    (tmp_path / "secret").write_text("1")
    (tmp_path / "plain" / "a").mkdir(parents=True)
    with pytest.raises(UnreadableObject, match="there is no such object"):
        FolderObjects(tmp_path).look(bucket, key)


def test_a_folder_is_no_object_and_the_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain" / "a").mkdir(parents=True)
    for key, path in (("a", "plain/a"), ("a/b", "plain/a/b")):
        with pytest.raises(
            UnreadableObject, match=rf"no such object, or no such bucket; it would be the file .*{path}$"
        ):
            FolderObjects(tmp_path).look("plain", key)


# --- What only S3 answers ---


def test_an_object_of_suspended_versioning_is_known_by_its_etag(s3: OnS3) -> None:
    """Its version ``null`` is overwritten by the next one."""
    s3.version("Suspended")
    s3.put(VERSIONED, b"0123456789")
    with Stubber(s3.s3) as stub:
        stub.add_response("head_object", {"ETag": '"e"', "ContentLength": 10, "VersionId": "null"})
        assert s3.objects.look(VERSIONED, KEY) == ObjectPin('"e"', 10)


def test_a_version_that_was_deleted_for_good_is_gone(s3: OnS3) -> None:
    s3.put(VERSIONED, b"0123456789")
    pin = s3.objects.look(VERSIONED, KEY)
    s3.s3.delete_object(Bucket=VERSIONED, Key=KEY, VersionId=pin.version_id)
    with pytest.raises(UnreadableObject, match="replaced or deleted"):
        s3.objects.read(VERSIONED, KEY, pin, 2, 3)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
def test_an_object_that_is_compressed_is_rejected(s3: OnS3, encoding: str) -> None:
    """Its parts are no text."""
    s3.put(PLAIN, b"\x1f\x8b", ContentEncoding=encoding)
    with pytest.raises(UnreadableObject, match=f"its Content-Encoding is '{encoding}'.* put it there uncompressed"):
        s3.objects.look(PLAIN, KEY)


@pytest.mark.parametrize("operation", ["head_object", "get_object"])
@pytest.mark.parametrize("code", ["403", "AccessDenied", "Forbidden"])
def test_what_is_denied_says_what_the_role_needs(s3: OnS3, operation: str, code: str) -> None:
    """Also where nothing is there: S3 says 403 to a role without ``s3:ListBucket``."""
    with Stubber(s3.s3) as stub:
        stub.add_client_error(operation, code, "no", 403)
        with pytest.raises(
            UnreadableObject, match=f"s3://{PLAIN}/{KEY} .*s3:GetObject .*GetObjectVersion .*ListBucket"
        ):
            call(s3.objects, operation)


@pytest.mark.parametrize("operation", ["head_object", "get_object"])
@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "503"])
def test_a_passing_condition_is_one(s3: OnS3, operation: str, code: str) -> None:
    """The same call may succeed later: it is no error of the items."""
    with Stubber(s3.s3) as stub:
        stub.add_client_error(operation, code, "later", 503)
        with pytest.raises(StoreUnavailable):
            call(s3.objects, operation)


def test_an_archived_object_is_to_be_restored_first(s3: OnS3) -> None:
    with Stubber(s3.s3) as stub:
        stub.add_client_error("get_object", "InvalidObjectState", "glacier", 403)
        with pytest.raises(UnreadableObject, match="is archived: restore it first"):
            call(s3.objects, "get_object")


def test_another_refusal_is_one_of_the_engine(s3: OnS3) -> None:
    with Stubber(s3.s3) as stub:
        stub.add_client_error("get_object", "InvalidRequest", "no", 400)
        with pytest.raises(EngineError, match="InvalidRequest"):
            call(s3.objects, "get_object")


class Broken:
    """What urllib3 gives for an answer that ends too early."""

    def __init__(self, data: bytes | Exception) -> None:
        self.data = data

    def read(self, *_: Any) -> bytes:
        """Some of it, or nothing."""
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


@pytest.mark.parametrize("data", [b"012", ReadTimeoutError(endpoint_url="http://test")])
@pytest.mark.parametrize("length", [3, 5])
def test_an_answer_that_breaks_off_is_a_passing_condition(s3: OnS3, data: bytes | Exception, length: int) -> None:
    """Whether it says how long it is or not."""
    with Stubber(s3.s3) as stub:
        body = StreamingBody(Broken(data), length)  # type: ignore[arg-type]  # it is only read
        asked = {"Bucket": PLAIN, "Key": KEY, "Range": "bytes=2-6", "IfMatch": ANY}
        stub.add_response("get_object", {"Body": body}, asked)
        with pytest.raises(StoreUnavailable):
            s3.objects.read(PLAIN, KEY, PIN, 2, 5)


def call(objects: Objects, operation: str) -> object:
    """The port's call that makes a request."""
    return objects.look(PLAIN, KEY) if operation == "head_object" else objects.read(PLAIN, KEY, PIN, 2, 5)
