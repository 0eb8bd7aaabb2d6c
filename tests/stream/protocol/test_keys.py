"""Key files: private to their owner, checked before use, refused with the command that repairs them."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess

import pytest
import zmq
from endpoint_helpers import no_descriptor_left
from zmq.auth import create_certificates, load_certificate

from eventveil.errors import AccessError
from eventveil.stream.protocol.keys import AllowList, KeyPair, new_keys, read_folder, read_public, read_secret


@pytest.fixture(autouse=True, params=[0o000, 0o022])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def permissions(path):
    return path.stat().st_mode & 0o777


def test_new_keys_are_a_pair_for_their_owner_alone(tmp_path):
    public = new_keys(tmp_path / "alice")
    assert public == tmp_path / "alice" / "alice.pub"
    assert permissions(public.parent) == 0o700
    assert [permissions(path) for path in (public, public.parent / "secret.key")] == [0o600, 0o600]
    pair, known = read_folder(public.parent), read_public(public)
    assert (known.name, known.key) == ("alice", pair.public)
    assert zmq.curve_public(pair.secret) == pair.public
    assert new_keys(tmp_path / "other", "bob@lab.org").name == "bob@lab.org.pub"
    assert read_folder(tmp_path / "other").secret != pair.secret


def test_no_representation_tells_the_secret(tmp_path):
    new_keys(tmp_path / "alice")
    pair = read_folder(tmp_path / "alice")
    assert pair.secret.decode() not in f"{pair!r} {pair}"


def test_keys_are_never_written_over(tmp_path):
    new_keys(tmp_path / "alice")
    before = read_folder(tmp_path / "alice")
    with pytest.raises(AccessError, match="a key exists already and is not overwritten"):
        new_keys(tmp_path / "alice")
    assert read_folder(tmp_path / "alice") == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-\n", "ä", "x" * 65, "a b", ".hidden"])
def test_a_name_is_one_that_files_can_have(tmp_path, name):
    with pytest.raises(AccessError, match="is not a key name"):
        new_keys(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


def test_pyzmq_reads_our_files_and_we_read_its(tmp_path):
    public = new_keys(tmp_path / "ours")
    pair = read_folder(public.parent)
    assert load_certificate(public) == (pair.public, None)
    assert load_certificate(public.parent / "secret.key") == (pair.public, pair.secret)
    theirs, secret = create_certificates(tmp_path, "theirs")
    for path in (theirs, secret):
        os.chmod(path, 0o600)  # noqa: PTH101
    assert read_secret(tmp_path / "theirs.key_secret").public == read_public(tmp_path / "theirs.key").key


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o660])
def test_a_secret_that_others_can_access_is_refused_until_the_named_command_has_repaired_it(tmp_path, bits):
    new_keys(tmp_path / "a lice", "alice")
    secret = tmp_path / "a lice" / "secret.key"
    secret.chmod(bits)
    with pytest.raises(AccessError, match=rf"others can access it \(mode {bits:04o}\): refused; chmod 600") as caught:
        read_secret(secret)
    subprocess.run(str(caught.value).rpartition("; ")[2], shell=True, check=True)
    assert permissions(secret) == 0o600
    read_secret(secret)


@pytest.mark.parametrize("bits", [0o755, 0o750, 0o701, 0o710, 0o720, 0o777])
@pytest.mark.parametrize("which", [".", "allowed"])
def test_a_folder_that_others_may_enter_is_refused_until_the_named_command_has_repaired_it(tmp_path, bits, which):
    keys = tmp_path / "keys"
    new_keys(keys)
    AllowList(keys).allow(read_public(new_keys(tmp_path / "alice")))
    (keys / which).chmod(bits)
    with pytest.raises(AccessError, match=r"others can access it .* chmod 700") as caught:
        read_folder(keys) if which == "." else AllowList(keys).read()
    subprocess.run(str(caught.value).rpartition("; ")[2], shell=True, check=True)
    read_folder(keys)
    assert list(AllowList(keys).read().values()) == ["alice"]


def test_a_public_key_may_be_read_by_others_and_not_be_changed(tmp_path):
    public = new_keys(tmp_path / "alice")
    public.chmod(0o644)
    key = read_public(public)
    for bits in (0o666, 0o664, 0o646):
        public.chmod(bits)
        with pytest.raises(AccessError, match="chmod go-w") as caught:
            read_public(public)
    subprocess.run(str(caught.value).rpartition("; ")[2], shell=True, check=True)
    assert read_public(public) == key


def test_files_of_another_user_are_refused(tmp_path, monkeypatch):
    public = new_keys(tmp_path / "alice")
    owner, me = public.stat().st_uid, os.getuid() + 1000
    if owner == 0:
        os.chown(public, 1000, -1)
        os.chown(public.parent / "secret.key", 1000, -1)
        me = 0
    monkeypatch.setattr("eventveil.stream.protocol.keys.os.getuid", lambda: me)
    with pytest.raises(AccessError, match=rf"belongs to another user, who can change it; chown {me}"):
        read_public(public)
    with pytest.raises(AccessError, match="belongs to another user"):
        read_secret(public.parent / "secret.key")


GOOD = "H:lZ8qKCXX8m4Te:WZo6su+BmGu*APgW[1bmp1!]"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no public key"),
        (b"\xff\xfe" * 500, "holds no public key"),
        (b'curve\n public-key = ""\n', "expected 40 characters of Z85"),
        (b'curve\n public-key = "short"\n', "expected 40 characters of Z85"),
        (f'public-key = "{GOOD[:-1]}~"'.encode(), "expected 40 characters of Z85"),
        (f'public-key = "{GOOD}{GOOD}"'.encode(), "expected 40 characters of Z85"),
        (b'public-key = "' + b"#" * 40 + b'"', "expected 40 characters of Z85"),  # more than 32 bits in five
        (b"\n" * 100_000, "is not a key file"),
    ],
)
def test_what_is_not_a_public_key_is_refused(tmp_path, content, words):
    path = tmp_path / "alice.pub"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(AccessError, match=words):
        read_public(path)
    with pytest.raises(AccessError, match=words):
        read_secret(path)


def test_what_is_not_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pub")
    for path, words in (("none.pub", "No such file"), ("pipe.pub", "is not a key file"), (".", "is not a key file")):
        with pytest.raises(AccessError, match=words):
            read_public(tmp_path / path)
    with pytest.raises(AccessError, match=r"No such file.*eventveil keys new"):
        read_folder(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(AccessError, match="is not a folder"):
        read_folder(tmp_path / "file")


def test_a_secret_is_never_taken_for_a_public_key_nor_the_other_way_round(tmp_path):
    public = new_keys(tmp_path / "alice")
    with pytest.raises(AccessError, match="holds a secret key, which must not be copied"):
        read_public(public.parent / "secret.key")
    with pytest.raises(AccessError, match="holds no secret key"):
        read_secret(public)


def test_keys_that_do_not_belong_together_are_refused(tmp_path):
    new_keys(tmp_path / "alice")
    secret = tmp_path / "alice" / "secret.key"
    mine, other = read_secret(secret), KeyPair(*zmq.curve_keypair())
    secret.write_text(secret.read_text().replace(mine.public.decode(), other.public.decode()))
    with pytest.raises(AccessError, match="the public and the secret key do not match"):
        read_secret(secret)
    secret.write_text(f'public-key = "{GOOD}"\nsecret-key = "nonsense"\n')
    with pytest.raises(AccessError, match="is not a CURVE key"):
        read_secret(secret)


def test_who_is_allowed_is_on_the_list_until_revoked(tmp_path):
    keys = tmp_path / "keys"
    new_keys(keys)
    listed = AllowList(keys)
    assert listed.read() == {}
    states = [listed.state()]
    alice, bob = (read_public(new_keys(tmp_path / name)) for name in ("alice", "bob"))
    for key in (alice, bob, alice):
        assert permissions(listed.allow(key)) == 0o600
        states.append(listed.state())
    assert permissions(listed.folder) == 0o700
    assert listed.read() == {alice.key: "alice", bob.key: "bob"}
    listed.revoke("alice")
    states.append(listed.state())
    assert listed.read() == {bob.key: "bob"}
    assert [a != b for a, b in itertools.pairwise(states)] == [True, True, False, True]


def test_a_name_stands_for_one_key(tmp_path):
    keys = tmp_path / "keys"
    new_keys(keys)
    first, second = (read_public(new_keys(tmp_path / folder, "alice")) for folder in ("a", "b"))
    AllowList(keys).allow(first)
    with pytest.raises(AccessError, match="holds another key; revoke it first"):
        AllowList(keys).allow(second)
    assert AllowList(keys).read() == {first.key: "alice"}


@pytest.mark.parametrize("name", ["alice", "alice-laptop"])
def test_a_revoked_key_is_not_left_on_the_list_under_another_name(tmp_path, name):
    """Nothing stops an operator from copying a file into the folder, or from renaming one."""
    keys = tmp_path / "keys"
    new_keys(keys)
    listed = AllowList(keys)
    path = listed.allow(read_public(new_keys(tmp_path / "alice")))
    bob = read_public(new_keys(tmp_path / "bob"))
    listed.allow(bob)
    shutil.copy(path, path.with_name("alice-laptop.pub"))
    listed.revoke(name)
    assert listed.read() == {bob.key: "bob"}


def test_nobody_is_revoked_by_mistake(tmp_path):
    keys = tmp_path / "keys"
    new_keys(keys)
    with pytest.raises(AccessError, match="on it: no key"):
        AllowList(keys).revoke("alice")
    AllowList(keys).allow(read_public(new_keys(tmp_path / "alice")))
    for name in ("alic", "../keys", "*"):
        with pytest.raises(AccessError, match=re.escape(f"{name!r} is not on the list; on it: alice")):
            AllowList(keys).revoke(name)


def test_a_list_that_cannot_be_read_is_not_an_empty_one(tmp_path):
    new_keys(tmp_path / "line")
    new_keys(tmp_path / "alice")
    keys = AllowList(tmp_path / "line")
    keys.allow(read_public(tmp_path / "alice" / "alice.pub"))
    with no_descriptor_left(), pytest.raises(AccessError, match="cannot be read: Too many open files"):
        keys.read()


def test_a_list_with_a_file_that_cannot_be_trusted_is_refused(tmp_path):
    keys = tmp_path / "keys"
    new_keys(keys)
    path = AllowList(keys).allow(read_public(new_keys(tmp_path / "alice")))
    path.chmod(0o666)
    with pytest.raises(AccessError, match="chmod go-w"):
        AllowList(keys).read()
