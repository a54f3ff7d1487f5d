"""Nobody reaches what is another's, whatever they are called: tried against the real SeaweedFS and OpenBao."""

import itertools
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from credential_backends import Backends, changed, client, running

from sardonyx_hub.credentials.aws import isolated_client
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import GitAccount, Grant, Subject
from sardonyx_hub.credentials.s3 import S3Source
from sardonyx_hub.credentials.secret_store import SecretStore
from sardonyx_hub.credentials.vault import VaultSource
from sardonyx_hub.identity.handles import HandleRegistry

#: User names as an identity provider may give them; `commons` is also a shared bucket.
NAMES = [
    *("alice", "bob", "*", "bob*", "al?ce", "a/b", "..", "Alice", "a", "first.last@april.fr", "x" * 80),
    *("${x}", "${jwt:datalab_id}", "commons", "carol", "alice/", "ali%63e", "{{identity.entity.name}}"),
]
SECRET = "only-for-its-owner"


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    with running(tmp_path_factory.mktemp("isolation")) as started:
        yield started


@pytest.fixture(scope="module")
def people(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Handle of each name; `carol again` was deleted and made again. Everybody has an object and a secret."""
    registry = HandleRegistry(
        tmp_path_factory.mktemp("handles") / "handles.sqlite", reserved=("commons", "lab-data")
    )
    handles = {name: registry.handle_for(name) for name in NAMES}
    registry.retire("carol")
    handles["carol again"] = registry.handle_for("carol")
    registry.close()
    for handle in handles.values():
        s3 = backends.s3_of(handle)
        for key in ("private.txt", "private/diffusion/private.txt", "diffusion/public.txt"):
            s3.put_object(Bucket=handle, Key=key, Body=handle.encode())
        backends.secrets.write(Subject(handle), "mine", {"KEY": f"{SECRET} {handle}"})
        backends.git_accounts.put(Subject(handle), GitAccount("github.com", token=f"{SECRET} {handle}"))
    return handles


def refused(call: Callable[[], Any]) -> bool:
    """Whether S3 answered that this is not allowed (and not something else)."""
    try:
        call()
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] in (401, 403)
    return False


def test_every_name_has_its_own_handle(people):
    assert len(set(people.values())) == len(NAMES) + 1
    assert people["alice"] == "alice"
    assert "commons" not in people.values()


def test_everybody_works_with_what_is_theirs(backends, people):
    for handle in people.values():
        s3 = backends.s3_of(handle)
        assert s3.get_object(Bucket=handle, Key="private.txt")["Body"].read() == handle.encode()
        s3.put_object(Bucket=handle, Key="new.txt", Body=b"new")
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=handle)["Contents"]]
        assert "new.txt" in keys
        s3.delete_object(Bucket=handle, Key="new.txt")
        assert [
            bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if bucket["Name"] in people.values()
        ] == [handle]
        assert backends.secrets.read(Subject(handle), "mine").data == {"KEY": f"{SECRET} {handle}"}


def test_no_object_of_another_is_read_or_written(backends, people):
    """Every pair: 0 reads and 0 writes outside one's own, but `diffusion/`. Against alice, every way that there is."""
    clients = {handle: backends.s3_of(handle) for handle in people.values()}
    breaches = []
    for reader, owner in itertools.permutations(people.values(), 2):
        s3 = clients[reader]
        attempts: dict[str, Callable[[], Any]] = {
            "read": lambda s3=s3, b=owner: s3.get_object(Bucket=b, Key="private.txt"),
            "list": lambda s3=s3, b=owner: s3.list_objects_v2(Bucket=b),
            "write": lambda s3=s3, b=owner: s3.put_object(Bucket=b, Key="diffusion/evil.txt", Body=b"x"),
            "delete": lambda s3=s3, b=owner: s3.delete_object(Bucket=b, Key="diffusion/public.txt"),
        }
        more: dict[str, Callable[[], Any]] = {
            "head": lambda s3=s3, b=owner: s3.head_object(Bucket=b, Key="private.txt"),
            # A folder called diffusion below another folder is not public.
            "read nested": lambda s3=s3, b=owner: s3.get_object(
                Bucket=b, Key="private/diffusion/private.txt"
            ),
            "list prefix": lambda s3=s3, b=owner: s3.list_objects_v2(Bucket=b, Prefix="private/diffusion/"),
            "list v1": lambda s3=s3, b=owner: s3.list_objects(Bucket=b),
            "versions": lambda s3=s3, b=owner: s3.list_object_versions(Bucket=b),
            "upload": lambda s3=s3, b=owner: s3.create_multipart_upload(Bucket=b, Key="evil.bin"),
            "copy out": lambda s3=s3, b=owner, r=reader: s3.copy_object(
                Bucket=r, Key="loot", CopySource=f"{b}/private.txt"
            ),
        }
        attempts |= more if owner == "alice" else {}
        breaches += [f"{reader} {what} {owner}" for what, call in attempts.items() if not refused(call)]
    assert breaches == []
    for owner in people.values():
        own = backends.s3_of(owner)
        keys = {entry["Key"] for entry in own.list_objects_v2(Bucket=owner)["Contents"]}
        assert keys == {"private.txt", "private/diffusion/private.txt", "diffusion/public.txt"}


def test_no_secret_of_another_is_read_or_written(backends, people):
    """With the token that a session may hold, on every path of the API that leads to secrets."""
    mount = backends.vault_config.mount
    breaches = []
    for reader in people.values():
        grant = Grant(f"{reader}//1", vault_token=True)
        given = backends.vault.fetch(Subject(reader), grant)
        for owner in set(people.values()) - {reader}:
            attempts = [
                ("GET", f"{mount}/data/{owner}/mine", None),
                ("LIST", f"{mount}/metadata/{owner}", None),
                ("POST", f"{mount}/data/{owner}/mine", b'{"data": {"KEY": "evil"}}'),
            ]
            more = [
                ("GET", f"{mount}/metadata/{owner}/mine", None),
                ("LIST", f"{mount}/metadata/{owner}/", None),
                ("GET", f"{mount}/data/{owner}/.git/github.com", None),
                ("GET", f"{mount}/subkeys/{owner}/mine", None),
                ("POST", f"{mount}/data/{owner}", b'{"data": {"KEY": "evil"}}'),
                ("DELETE", f"{mount}/metadata/{owner}/mine", None),
                ("POST", f"{mount}/destroy/{owner}/mine", b'{"versions": [1]}'),
            ]
            for method, path, body in attempts + (more if owner == "alice" else []):
                status = ask_vault(backends, method, path, given.token, body)
                if status != 403:
                    breaches.append(f"{reader}: {method} {path} -> {status}")
        for path in (f"{mount}/metadata", "sys/mounts", "auth/token/accessors", "identity/entity/id"):
            status = ask_vault(backends, "LIST" if "sys" not in path else "GET", path, given.token)
            if status != 403:
                breaches.append(f"{reader}: {path} -> {status}")
        backends.vault.end(given)
    assert breaches == []
    for owner in people.values():
        assert backends.secrets.read(Subject(owner), "mine").data == {"KEY": f"{SECRET} {owner}"}


def ask_vault(
    backends: Backends, method: str, path: str, token: str | None, body: bytes | None = None
) -> int:
    request = urllib.request.Request(f"{backends.openbao.address}/v1/{path}", data=body, method=method)
    if token:
        request.add_header("X-Vault-Token", token)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("path", ["../bob/mine", "mine/../../bob/mine", "%2e%2e/bob/mine", "..%2fbob/mine"])
def test_a_path_does_not_lead_to_another(backends, people, path):
    with pytest.raises(SourceError) as caught:
        backends.secrets.read(Subject("alice"), path)
    assert caught.value.code == "invalid"
    given = backends.vault.fetch(Subject("alice"), Grant("alice//path", secrets=(path, "mine")))
    assert given.values == {"KEY": f"{SECRET} alice"}
    assert [problem.code for problem in given.problems] == ["invalid"]
    backends.vault.end(given)


def test_diffusion_is_readable_and_only_readable_by_everyone_signed_in(backends, people):
    for reader, owner in [("alice", "bob"), (people["*"], "alice"), ("bob", people["carol again"])]:
        s3 = backends.s3_of(reader)
        assert s3.get_object(Bucket=owner, Key="diffusion/public.txt")["Body"].read() == owner.encode()
        listed = s3.list_objects_v2(Bucket=owner, Prefix="diffusion/")
        assert [entry["Key"] for entry in listed["Contents"]] == ["diffusion/public.txt"]
        s3.copy_object(Bucket=reader, Key="copy", CopySource=f"{owner}/diffusion/public.txt")
        s3.delete_object(Bucket=reader, Key="copy")


def test_shared_buckets_are_open_to_whom_the_configuration_names(backends, people):
    backends.admin().put_object(Bucket="commons", Key="airports.csv", Body=b"id")
    backends.admin().put_object(Bucket="lab-data", Key="data.csv", Body=b"id")
    alice, bob, star = (backends.s3_of(people[name]) for name in ("alice", "bob", "*"))
    for s3 in (alice, bob, star):
        assert s3.get_object(Bucket="commons", Key="airports.csv")["Body"].read() == b"id"
        assert refused(lambda s3=s3: s3.put_object(Bucket="commons", Key="evil", Body=b""))
        assert refused(lambda s3=s3: s3.delete_object(Bucket="commons", Key="airports.csv"))
    assert alice.list_objects_v2(Bucket="lab-data")["KeyCount"] == 1
    assert refused(lambda: alice.put_object(Bucket="lab-data", Key="evil", Body=b""))
    bob.put_object(Bucket="lab-data", Key="bobs", Body=b"1")
    bob.delete_object(Bucket="lab-data", Key="bobs")
    assert refused(lambda: star.get_object(Bucket="lab-data", Key="data.csv"))
    assert refused(lambda: star.list_objects_v2(Bucket="lab-data"))


def test_a_session_cannot_open_its_bucket_or_leave_its_rules(backends, people):
    """What malware in a session could do to have everything read by strangers."""
    s3 = backends.s3_of("alice")
    policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}'
    tags = {"TagSet": [{"Key": "sardonyx-owner", "Value": "bob"}]}
    for call in (
        lambda: s3.put_bucket_policy(Bucket="alice", Policy=policy),
        lambda: s3.delete_bucket_policy(Bucket="alice"),
        lambda: s3.put_bucket_tagging(Bucket="alice", Tagging=tags),
        lambda: s3.delete_bucket_tagging(Bucket="alice"),
        lambda: s3.put_bucket_acl(Bucket="alice", ACL="public-read-write"),
        lambda: s3.put_object_acl(Bucket="alice", Key="private.txt", ACL="public-read"),
        lambda: s3.delete_bucket(Bucket="alice"),
        lambda: s3.create_bucket(Bucket="another"),
        lambda: s3.create_bucket(Bucket=people["bob*"] + "x"),
    ):
        assert refused(call)


def test_a_read_only_grant_writes_nothing(backends, people):
    s3 = backends.s3_of("bob", s3="read-only")
    assert s3.get_object(Bucket="bob", Key="private.txt")["Body"].read() == b"bob"
    assert s3.list_objects_v2(Bucket="bob")["KeyCount"] == 3
    for call in (
        lambda: s3.put_object(Bucket="bob", Key="x", Body=b""),
        lambda: s3.delete_object(Bucket="bob", Key="private.txt"),
        lambda: s3.copy_object(Bucket="bob", Key="x", CopySource="bob/private.txt"),
        lambda: s3.create_multipart_upload(Bucket="bob", Key="x"),
        lambda: s3.put_object_tagging(Bucket="bob", Key="private.txt", Tagging={"TagSet": []}),
        lambda: s3.delete_object_tagging(Bucket="bob", Key="private.txt"),
        # A shared bucket that bob may write, and his session may not.
        lambda: s3.put_object(Bucket="lab-data", Key="x", Body=b""),
    ):
        assert refused(call)
    many = s3.delete_objects(Bucket="bob", Delete={"Objects": [{"Key": "private.txt"}]})
    assert [error["Code"] for error in many["Errors"]] == ["AccessDenied"]
    assert s3.list_objects_v2(Bucket="bob")["KeyCount"] == 3


def test_a_token_for_one_backend_is_refused_by_the_other(backends):
    wrong_s3 = S3Source(changed(backends.s3_config, audience="datalab-vault"), backends.issuer)
    wrong_vault = changed(backends.vault_config, audience="datalab-s3")
    calls: list[Callable[[], Any]] = [
        lambda: wrong_s3.fetch(Subject("alice"), Grant("s")),
        lambda: VaultSource(wrong_vault, backends.issuer).fetch(
            Subject("alice"), Grant("s", vault_token=True)
        ),
        lambda: SecretStore(wrong_vault, backends.issuer).list(Subject("alice")),
    ]
    for call in calls:
        with pytest.raises(SourceError, match="audience") as caught:
            call()
        assert caught.value.code == "denied"


@pytest.mark.parametrize(
    "name", ["*", "bob*", "al?ce", "Alice", "..", "a/b", "${jwt:datalab_id}", "", "a", "x" * 64]
)
def test_a_name_that_is_no_handle_reaches_no_backend(backends, name):
    subject = Subject(name)
    for call in (
        lambda: backends.s3.fetch(subject, Grant("s")),
        lambda: backends.vault.fetch(subject, Grant("s", vault_token=True)),
        lambda: backends.secrets.list(subject),
        lambda: backends.git.fetch(subject, Grant("s")),
        lambda: backends.provisioner.ensure(name),
    ):
        with pytest.raises(SourceError) as caught:
            call()
        assert caught.value.code == "invalid"


def test_without_credentials_s3_gives_nothing(backends, people):
    stranger = backends.seaweedfs.endpoint_url
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for path in (
        "/",
        "/alice",
        "/alice/private.txt",
        "/alice/diffusion/public.txt",
        "/commons/airports.csv",
        "/?Action=ListUsers",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(stranger + path, timeout=10)
        assert caught.value.code in (400, 403)
        assert SECRET.encode() not in caught.value.read()
    put = urllib.request.Request(f"{stranger}/alice/diffusion/x", data=b"x", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(put, timeout=10)
    assert caught.value.code == 403
    guess = client(stranger, "admin", "admin", None)
    assert refused(guess.list_buckets)


def test_the_inner_ports_of_seaweedfs_give_nothing(backends, people):
    """Filer, master, volume and every gRPC port: no useful answer over HTTP, or over TLS without our certificate."""
    ports = backends.seaweedfs.ports
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    openers = [
        urllib.request.build_opener(urllib.request.ProxyHandler({})),
        urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        ),
    ]
    inner = [
        ports.filer,
        ports.master,
        ports.volume,
        ports.filer_grpc,
        ports.master_grpc,
        ports.volume_grpc,
        ports.s3_grpc,
    ]
    paths = [
        "/",
        "/buckets/alice/private.txt",
        "/buckets/",
        "/dir/assign",
        "/dir/status",
        "/vol/status",
        "/ui/index.html",
    ]
    answered = []
    for port, path in itertools.product(inner, paths):
        for scheme, opener in zip(("http", "https"), openers, strict=True):
            for method, body in (("GET", None), ("PUT", b"evil")):
                request = urllib.request.Request(
                    f"{scheme}://127.0.0.1:{port}{path}", data=body, method=method
                )
                try:
                    with opener.open(request, timeout=10) as answer:
                        answered.append(f"{method} {scheme} {port} {path} {answer.status}")
                except urllib.error.HTTPError as error:
                    if error.code not in (400, 401, 403, 404):
                        answered.append(f"{method} {scheme} {port} {path} {error.code}")
                except OSError:
                    continue
    assert answered == []
    data = Path(backends.seaweedfs.directory)
    assert data.stat().st_mode & 0o077 == 0


def test_without_a_token_openbao_gives_nothing(backends, people):
    mount = backends.vault_config.mount
    for path in (
        f"{mount}/data/alice/mine",
        f"{mount}/metadata/alice",
        "sys/mounts",
        "sys/policies/acl",
        "auth/token/lookup-self",
    ):
        assert ask_vault(backends, "GET", path, None) == 403
        assert ask_vault(backends, "GET", path, "hvs.guess") == 403


def test_the_role_alone_keeps_people_apart(backends, people):
    """Without the session policy, which is the second wall."""
    for reader, owner in [("alice", "bob"), (people["*"], "alice"), (people["bob*"], "bob")]:
        sts = isolated_client("sts", backends.seaweedfs.endpoint_url, region="us-east-1")
        answer = sts.assume_role_with_web_identity(
            RoleArn=backends.s3_config.role_arn,
            RoleSessionName=reader,
            WebIdentityToken=backends.issuer.token(Subject(reader), "datalab-s3"),
        )["Credentials"]
        s3 = client(
            backends.seaweedfs.endpoint_url,
            answer["AccessKeyId"],
            answer["SecretAccessKey"],
            answer["SessionToken"],
        )
        assert s3.get_object(Bucket=reader, Key="private.txt")["Body"].read() == reader.encode()
        assert refused(lambda s3=s3, b=owner: s3.get_object(Bucket=b, Key="private.txt"))
        assert refused(lambda s3=s3, b=owner: s3.get_object(Bucket=b, Key="private/diffusion/private.txt"))
        assert refused(lambda s3=s3, b=owner: s3.list_objects_v2(Bucket=b))
        assert refused(lambda s3=s3, b=owner: s3.put_object(Bucket=b, Key="x", Body=b""))
