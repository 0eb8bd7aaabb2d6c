"""A certificate is accepted only as exactly the signed bytes, only if its JSON is strict, and only until its last day.

The envelopes are made by `tests/support/certificates.py`, which does not use the code under test. Each strange payload
has a valid signature.
"""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, date, datetime, timedelta

import pytest
from certificates import PAYLOAD_TYPE, certificate, content, envelope, tampered
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import AuditError
from eventveil.stream.protocol import dsse
from eventveil.stream.protocol.certificate import Signed, read_key

AUDITOR = Ed25519PrivateKey.generate()
KEY = AUDITOR.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
VALUES = content(("a" * 64, 1))
IDENTITY = (1).to_bytes(32, "little")  # the neutral element: anyone can sign for it


def read(values, **arguments):
    """Read an envelope, given as values or as text."""
    text = values if isinstance(values, str) else json.dumps(values)
    return Signed.parse(text.encode(), "c.json", **arguments)


def signed(payload):
    """Sign a payload, given as values, text or bytes, and read it."""
    payload = payload if isinstance(payload, str | bytes) else json.dumps(payload)
    return read(envelope(AUDITOR, payload.encode() if isinstance(payload, str) else payload))


def changed(**values):
    return VALUES | values


def subject(**values):
    return changed(subjects=[VALUES["subjects"][0] | values])


def test_the_certificate_and_its_signer_are_read():
    one = read(certificate(AUDITOR, ("a" * 64, 0), ("a" * 64, 1)), key=KEY)
    assert one.key == KEY
    assert one.certificate.threshold == 0.1
    assert one.certificate.about("a" * 64).status == 1
    assert one.certificate.about("b" * 64) is None


TEXT = json.dumps(VALUES)
STRANGE = {
    "a key twice": TEXT.replace('"threshold": 0.1', '"threshold": 0.9, "threshold": 0.1'),
    "a key twice, escaped": TEXT.replace('"threshold": 0.1', '"threshol\\u0064": 0.9, "threshold": 0.1'),
    "a key of a subject twice": TEXT.replace('"status": 1', '"status": 0, "status": 1'),
    "status false": subject(status=False),
    "status true": subject(status=True),
    "status text": subject(status="0"),
    "status float": subject(status=0.0),
    "status unknown": subject(status=3),
    "threshold text": changed(threshold="0.1"),
    "threshold true": changed(threshold=True),
    "threshold too large": changed(threshold=1e999),
    "threshold NaN": TEXT.replace("0.1", "NaN"),
    "threshold infinite": TEXT.replace("0.1", "Infinity"),
    "evidence number": changed(evidence=1),
    "evidence text": changed(evidence="true"),
    "passed without evidence": subject(status=0) | {"evidence": False},
    "a digest with a line end": changed(config="1" * 64 + "\n"),
    "a name that is none": subject(name=None),
    "made a number": changed(made=1),
    "subjects no list": changed(subjects={}),
    "one key more": changed(note=""),
    "one key more in a subject": subject(note=""),
    "no threshold": {name: value for name, value in VALUES.items() if name != "threshold"},
    "no book in a subject": TEXT.replace('"book": null, ', ""),
    "no bits in a subject": TEXT.replace(', "bits_per_second": null', ""),
    "no last day": {name: value for name, value in VALUES.items() if name != "not_after"},
    "last day a number": changed(not_after=4102444800),
    "last day a number as text": changed(not_after="4102444800"),
    "last day none": changed(not_after=None),
    "last day that does not exist": changed(not_after="2099-02-30"),
    "last day with a time": changed(not_after="2099-01-01T10:00:00Z"),
    "a list": [VALUES],
    "nothing": b"",
    "no UTF-8": TEXT.encode().replace(b'"made"', b'"m\xffde"'),
    "UTF-16": TEXT.encode("utf-16"),
    "a byte order mark": TEXT.encode("utf-8-sig"),
    "half a character": TEXT.replace('"w0"', '"\\ud800"'),
    "text after it": TEXT + "{}",
    "a comment": TEXT + "// more",
    "brackets without end": "[" * 100_000,
    "a number without end": TEXT.replace("0.1", "1" * 10_000),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_a_strange_payload_is_refused_although_its_signature_is_valid(case):
    with pytest.raises(AuditError, match="expected an audit certificate") as caught:
        signed(STRANGE[case])
    assert len(str(caught.value)) < 500


ENVELOPE = envelope(AUDITOR, TEXT.encode())
assert ENVELOPE["payload"].endswith("fQ==")  # so that other padding bits can be tried


def with_signature(**values):
    return ENVELOPE | {"signatures": [ENVELOPE["signatures"][0] | values]}


@pytest.mark.parametrize(
    "values",
    [
        {"payload": ENVELOPE["payload"], "payloadType": PAYLOAD_TYPE},
        ENVELOPE | {"note": ""},
        ENVELOPE | {"signatures": []},
        ENVELOPE | {"signatures": ENVELOPE["signatures"] * 2},
        with_signature(note=""),
        with_signature(keyid=""),
        with_signature(keyid=KEY.upper()),
        with_signature(sig=None),
        json.dumps(ENVELOPE).replace('"payloadType"', '"payload": "", "payloadType"'),
        ENVELOPE | {"payload": ENVELOPE["payload"] + "\n"},
        ENVELOPE | {"payload": " " + ENVELOPE["payload"]},
        with_signature(sig=ENVELOPE["signatures"][0]["sig"].rstrip("=")),
        ENVELOPE | {"payload": ENVELOPE["payload"].replace("fQ==", "fR==")},  # the same bytes
        ENVELOPE | {"payloadType": "application/vnd.in-toto+json"},
        envelope(AUDITOR, TEXT.encode(), "application/vnd.in-toto+json"),
        envelope(AUDITOR, TEXT.encode(), PAYLOAD_TYPE + " "),
        VALUES | {"version": 1, "public_key": KEY, "signature": "0" * 128},  # as certificates were at first
        "[" * 100_000,
    ],
)
def test_another_envelope_is_refused(values):
    with pytest.raises(AuditError, match="expected an audit certificate"):
        read(values)


def test_the_type_is_signed_too():
    with pytest.raises(AuditError, match="it was changed"):
        read(envelope(AUDITOR, TEXT.encode(), signed_type="application/vnd.in-toto+json"))


def test_the_same_values_encoded_in_another_way_are_not_what_was_signed():
    for payload in (json.dumps(VALUES, indent=1), json.dumps(VALUES, sort_keys=True), TEXT + " ", " " + TEXT):
        with pytest.raises(AuditError, match="it was changed"):
            read(ENVELOPE | {"payload": base64.b64encode(payload.encode()).decode()})


def test_a_changed_value_a_changed_signature_and_another_signer_are_refused():
    with pytest.raises(AuditError, match="it was changed"):
        read(tampered(json.dumps(ENVELOPE), b'"status": 1', b'"status": 0'))
    for other in (bytes(64), b"", base64.b64decode(ENVELOPE["signatures"][0]["sig"]) + b"\0"):
        with pytest.raises(AuditError, match="it was changed"):
            read(with_signature(sig=base64.b64encode(other).decode()))
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    with pytest.raises(AuditError, match="it was changed"):
        read(with_signature(keyid=stranger))
    with pytest.raises(AuditError, match="signed with a key other than the trusted one"):
        read(ENVELOPE, key=stranger)


def test_a_signature_that_anyone_can_make_is_refused_with_and_without_a_trusted_key(tmp_path):
    forged = base64.b64encode(IDENTITY + bytes(32)).decode()
    values = with_signature(keyid=IDENTITY.hex(), sig=forged)
    Ed25519PublicKey.from_public_bytes(IDENTITY).verify(IDENTITY + bytes(32), b"")  # OpenSSL accepts it
    for trusted in (None, IDENTITY.hex()):
        with pytest.raises(AuditError, match="weak key"):
            read(values, key=trusted)
    prefix = bytes.fromhex("302a300506032b6570032100")  # of an Ed25519 SubjectPublicKeyInfo, RFC 8410
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(prefix + IDENTITY) + b"\n-----END PUBLIC KEY-----\n"
    (tmp_path / "public.pem").write_bytes(pem)
    with pytest.raises(AuditError, match="is a weak key"):
        read_key(tmp_path / "public.pem")


@given(at=st.integers(0, len(TEXT) - 1), bit=st.integers(0, 7), where=st.sampled_from(["payload", "sig", "keyid"]))
def test_no_other_payload_signature_or_key_is_accepted(at, bit, where):
    """One bit of what was signed, of the signature, or of the key is flipped."""
    data = {
        "payload": bytearray(TEXT.encode()),
        "sig": bytearray(base64.b64decode(ENVELOPE["signatures"][0]["sig"])),
        "keyid": bytearray.fromhex(KEY),
    }
    flipped = data[where]
    flipped[at % len(flipped)] ^= 1 << bit
    values = with_signature(sig=base64.b64encode(data["sig"]).decode(), keyid=data["keyid"].hex())
    with pytest.raises(AuditError):
        read(values | {"payload": base64.b64encode(data["payload"]).decode()})


@given(st.data())
def test_no_changed_character_of_an_envelope_yields_other_bytes_than_the_signed_ones(data):
    """Change an envelope anywhere: it is refused, or its payload and signer are still the signed ones."""
    text = json.dumps(ENVELOPE)
    at = data.draw(st.integers(0, len(text)))
    changed_text = text[:at] + data.draw(st.text(max_size=2)) + text[at + data.draw(st.integers(0, 2)) :]
    try:
        payload, key = dsse.verify(changed_text.encode(), PAYLOAD_TYPE)
    except (AuditError, ValueError):
        return
    assert (payload, key) == (TEXT.encode(), KEY)


def test_an_envelope_of_ours_is_verified_by_openssl(tmp_path):
    payload = b"payload \x00\xff"
    values = json.loads(dsse.sign(payload, PAYLOAD_TYPE, AUDITOR))
    assert base64.b64decode(values["payload"]) == payload
    signed_bytes = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    (tmp_path / "signed").write_bytes(signed_bytes)
    (tmp_path / "sig").write_bytes(base64.b64decode(values["signatures"][0]["sig"]))
    (tmp_path / "key.pem").write_bytes(AUDITOR.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-inkey", "key.pem", "-in", "signed", "-sigfile", "sig"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert "Verified Successfully" in done.stdout
    assert dsse.verify(json.dumps(values).encode(), PAYLOAD_TYPE) == (payload, KEY)


def test_it_counts_until_the_end_of_its_last_day_and_warns_a_month_before():
    last = date(2027, 3, 1)
    text = certificate(AUDITOR, ("a" * 64, 0), not_after="2027-03-01")
    assert read(text, on=last).expiry_warning(last - timedelta(31)) is None
    for days in (30, 0):
        warning = read(text, on=last).expiry_warning(last - timedelta(days))
        assert f"expires at the end of 2027-03-01 (UTC), in {days} days: audit the weights again" in warning
    with pytest.raises(AuditError, match=r"expired at the end of 2027-03-01 \(UTC\): refused; audit the weights again"):
        read(text, on=last + timedelta(1))


def test_by_default_the_day_is_today():
    today = datetime.now(UTC).date()
    read(certificate(AUDITOR, ("a" * 64, 0), not_after=str(today + timedelta(1))))
    with pytest.raises(AuditError, match="expired"):
        read(certificate(AUDITOR, ("a" * 64, 0), not_after=str(today - timedelta(1))))
