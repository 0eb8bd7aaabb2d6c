"""The audit certificate: in every header, repeated for every subscriber, and refused wherever it does not fit."""

from __future__ import annotations

import tempfile
import threading
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from types import SimpleNamespace

import pytest
import zmq
from certificates import certificate, tampered
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pipeline_helpers import (
    DIGEST,
    OTHER_DIGEST,
    PATIENCE_MS,
    RUN,
    SEAL,
    WORD,
    gesture,
    link,
    publisher,
    received,
    sealed_message,
    stage_counters,
    state,
    window,
)
from pipeline_setup import Kit, make_kit, run_and_listen, subscriber
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import AuditError
from eventveil.models import load_weights, shipped
from eventveil.stream import subscribe
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.planning.planner import plan
from eventveil.stream.protocol.certificate import Signed, read_key
from eventveil.stream.protocol.wire import STATE, WINDOW, decode
from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.subscriber import certificate_filter
from eventveil.stream.subscriber.certificate_filter import CertificateFilter

PATIENCE_S = PATIENCE_MS / 1000


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """An auditor and a stranger: private keys, and files with their public halves."""
    folder = tmp_path_factory.mktemp("keys")
    keys = {}
    for name in ("auditor", "stranger"):
        private = Ed25519PrivateKey.generate()
        path = folder / f"{name}.pem"
        path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        keys[name] = SimpleNamespace(private=private, path=path)
    return SimpleNamespace(**keys)


def digest(text):
    return sha256(text.encode()).hexdigest()


def certificate_state(text):
    return state(state="certificate", certificate=text)


def trusting(keys, *messages, key="auditor"):
    """Yield what a subscriber that requires a certificate of this key receives."""
    with publisher(*messages) as endpoint:
        messages = subscribe(endpoint, require_certificate=getattr(keys, key).path, timeout_s=2 * PATIENCE_S)
        yield from messages


def test_what_comes_before_the_certificate_is_withheld_and_counted(keys):
    text = certificate(keys.auditor.private, (DIGEST, 0))
    named = {"certificate": digest(text)}
    early = [window(0, **named), gesture(0, **named), window(2, lost={"queue": 1}, **named)]
    late = [window(3, lost={"queue": 1}, **named), gesture(1, **named), window(4, lost={"queue": 1}, **named)]
    got = list(trusting(keys, *early, certificate_state(text), *late, certificate_state(text), state()))
    assert [(m.topic, getattr(m.header, "seq", m.header.shape)) for m in got] == [
        (STATE, (0,)), (WINDOW, 3), ("gesture", 1), (WINDOW, 4), (STATE, (0,)),
    ]  # fmt: skip
    assert got[1].missing == {"certificate": 2, "queue": 1}
    assert got[2].missing == {"certificate": 1}
    assert got[3].missing == {}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("not certified", r"\(digest [0-9a-f]{16}\) have no certificate"),
        ("wrong key", "was signed with a key other than"),
        ("failing verdict", "did not pass their audit: Fail: found"),
        ("not measured", "did not pass their audit"),
        ("swapped weights", r"does not cover the weights of this pipeline \(digest [0-9a-f]{16}\)"),
        ("changed", "it was changed"),
        ("expired", "expired at the end of 2026-01-01"),
        ("no certificate at all", "expected an audit certificate"),
        (
            "forged digest",
            "did not arrive before the pipeline ended, only one with digest .*; 2 messages were withheld",
        ),
        ("never shown", "did not arrive before the pipeline ended; 2 messages were withheld"),
    ],
)
def test_whatever_does_not_fit_is_refused_and_nothing_is_handed_out(keys, case, words):
    texts = {
        "wrong key": certificate(keys.stranger.private, (DIGEST, 0)),
        "failing verdict": certificate(keys.auditor.private, (OTHER_DIGEST, 0), (DIGEST, 1)),
        "not measured": certificate(keys.auditor.private, (DIGEST, 0), (DIGEST, 2)),
        "swapped weights": certificate(keys.auditor.private, (OTHER_DIGEST, 0)),
        "changed": tampered(certificate(keys.auditor.private, (DIGEST, 1)), b'"status": 1', b'"status": 0'),
        "expired": certificate(keys.auditor.private, (DIGEST, 0), not_after="2026-01-01"),
        "no certificate at all": "[]",
    }
    text = texts.get(case, certificate(keys.auditor.private, (DIGEST, 0)))
    named = {"certificate": {"not certified": None, "forged digest": "0" * 64}.get(case, digest(text))}
    first = [] if case == "never shown" else [certificate_state(text)]
    got = []
    with pytest.raises(AuditError, match=words):
        got.extend(trusting(keys, *first, window(0, **named), window(1, **named), state()))
    assert not [message for message in got if message.topic != STATE]


STAND_IN = {"book": WORD["book"], "bits_per_second": WORD["bits_per_second"]}


@pytest.mark.parametrize(
    ("certified", "published", "accepted"),
    [
        (STAND_IN, WORD, True),
        (STAND_IN | {"bits_per_second": 9.0}, WORD, True),
        (STAND_IN | {"bits_per_second": 6.91}, WORD, False),
        (STAND_IN | {"book": "ef" * 32}, WORD, False),
        ({"book": None, "bits_per_second": None}, WORD, False),
        (STAND_IN, {}, False),
        (STAND_IN | {"bits_per_second": None}, WORD, False),
    ],
)
def test_a_certificate_of_a_stand_in_is_one_of_its_book_and_its_bits(keys, certified, published, accepted):
    text = certificate(keys.auditor.private, (DIGEST, 0, certified))
    messages = (certificate_state(text), window(0, certificate=digest(text), **published), state())
    if accepted:
        assert [message.topic for message in trusting(keys, *messages)] == [STATE, WINDOW, STATE]
    else:
        with pytest.raises(AuditError, match="covers the weights of this pipeline with the book"):
            list(trusting(keys, *messages))


def test_a_certificate_that_never_comes_ends_it_within_seconds(keys, monkeypatch):
    monkeypatch.setattr(certificate_filter, "PATIENCE_S", 0.3)
    with pytest.raises(AuditError, match="did not arrive within 0 s; 1 messages were withheld"):
        list(trusting(keys, window(0, certificate="0" * 64)))


@pytest.mark.parametrize("then", ["silence", "the pipeline ends"])
def test_a_certificate_that_has_arrived_is_not_missing_although_no_window_follows(keys, then):
    """A camera that is unplugged just then sends nothing more for a while."""
    text, now = certificate(keys.auditor.private, (DIGEST, 0)), [0.0]
    one = CertificateFilter(read_key(keys.auditor.path), clock=lambda: now[0])
    assert not one.accepts(decode(window(0, certificate=digest(text))))
    assert one.accepts(decode(certificate_state(text)))
    if then == "the pipeline ends":
        assert one.accepts(decode(state()))
    now[0] = 60.0
    one.check()
    assert one.accepts(decode(window(1, certificate=digest(text))))


def test_a_certificate_that_covers_no_withheld_message_is_refused_when_it_arrives(keys):
    text = certificate(keys.auditor.private, (DIGEST, 1))
    one = CertificateFilter(read_key(keys.auditor.path))
    assert not one.accepts(decode(window(0, certificate=digest(text))))
    with pytest.raises(AuditError, match="did not pass their audit"):
        one.accepts(decode(certificate_state(text)))


def test_a_pipeline_that_changes_its_weights_is_held_to_its_new_certificate(keys):
    first = certificate(keys.auditor.private, (DIGEST, 0))
    second = certificate(keys.auditor.private, (OTHER_DIGEST, 0))
    changed = {"certificate": digest(second), "anonymizer": OTHER_DIGEST}
    messages = [
        certificate_state(first),
        window(0, certificate=digest(first)),
        window(1, **changed),
        certificate_state(second),
    ]
    got = list(trusting(keys, *messages, window(2, **changed), state()))
    assert [m.header.seq for m in got if m.topic == WINDOW] == [0, 2]
    with pytest.raises(AuditError, match="does not cover the weights"):
        list(trusting(keys, certificate_state(first), window(0, certificate=digest(first), anonymizer=OTHER_DIGEST)))


def test_a_certificate_that_expires_meanwhile_ends_it_and_was_announced(keys, caplog):
    text, day = certificate(keys.auditor.private, (DIGEST, 0), not_after="2027-03-01"), [date(2027, 2, 1)]
    one = CertificateFilter(read_key(keys.auditor.path), calendar=lambda: day[0])
    with caplog.at_level("WARNING", "eventveil.subscribe"):
        for _ in range(3):
            assert one.accepts(decode(certificate_state(text)))
    assert [record.getMessage()[:48] for record in caplog.records] == [
        "the certificate expires at the end of 2027-03-01"
    ]
    message = decode(window(0, certificate=digest(text)))
    assert one.accepts(message)
    day[0] = date(2027, 3, 2)
    with pytest.raises(AuditError, match="refused: the certificate of this pipeline: expired at the end of 2027-03-01"):
        one.accepts(message)
    with pytest.raises(AuditError, match="expired"):
        one.accepts(decode(certificate_state(text)))


def test_without_the_demand_everything_comes_and_the_certificate_once(keys):
    text = certificate(keys.auditor.private, (DIGEST, 0))
    with publisher(
        certificate_state(text), window(), certificate_state(text), window(1), certificate_state(text), state()
    ) as endpoint:
        got = list(subscribe(endpoint, timeout_s=PATIENCE_S))
    assert [m.header.state for m in got if m.topic == STATE] == ["certificate", "ended"]
    assert [m.header.seq for m in got if m.topic == WINDOW] == [0, 1]


def test_a_repeated_certificate_is_not_a_sign_of_life(keys):
    text, stop = certificate(keys.auditor.private, (DIGEST, 0)), threading.Event()

    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")

        def repeat():
            while not stop.wait(0.2):
                socket.send_multipart(certificate_state(text))

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            got = list(subscribe(f"tcp://127.0.0.1:{port}", timeout_s=1.0))
        finally:
            stop.set()
            thread.join()
    assert len(got) <= 1


def test_the_publisher_shows_its_certificate_again_and_again():
    now = [0]
    provenance = Provenance(DIGEST, trained=True, certificate="12" * 32, certificate_text="{}")
    with link(hwm=100) as (push, pull):
        repeating = Publisher(
            push, SEAL, provenance, stage_counters("publish"), run=RUN, max_age_ms=None, clock_ns=lambda: now[0]
        )
        counts = []
        for now_ms in (0, 10, 1_999, 2_000, 2_001, 4_100):
            now[0] = now_ms * 1_000_000
            repeating.certify()
            counts.append(len(received(pull)))
        repeating.take(sealed_message(0, scores=None))
        (frames,) = received(pull)
    assert counts == [1, 0, 0, 1, 0, 1]
    assert decode(frames).header.certificate == "12" * 32


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"), seconds=0.5)


@pytest.fixture
def endpoint(tmp_path_factory):
    with tempfile.TemporaryDirectory(prefix="eventveil-") as folder:
        yield f"ipc://{folder}/public"


@pytest.fixture
def beside(kit):
    """Return a function that writes a certificate next to the weights and returns its path; remove it afterwards."""
    written = set()

    def write(text):
        path = shipped.certificate_of(kit.anonymizer)
        path.write_text(text)
        written.add(path)
        return path

    yield write
    for path in written:
        path.unlink(missing_ok=True)


@pytest.fixture
def shipping(kit, keys, monkeypatch):
    """Make the folder of the weights the one of what ships, and the auditor's key that of the project."""
    monkeypatch.setattr(shipped, "FOLDER", kit.anonymizer.resolve().parent)
    monkeypatch.setattr(shipped, "PROJECT_KEY", keys.auditor.path)


def test_a_pipeline_takes_the_certificate_beside_its_weights_and_a_subscriber_in_another_process_trusts_it(
    kit, keys, endpoint, beside
):
    text = certificate(keys.auditor.private, (load_weights(kit.anonymizer).digest, 0))
    beside(text)
    with subscriber(endpoint, "--require-certificate", str(keys.auditor.path)) as trusts:
        status = Pipeline(kit.settings(endpoint)).run()
        assert status.failure is None
        messages = trusts.finish()
    assert trusts.process.returncode == 0
    windows = trusts.topic("window")
    withheld = sum(message["missing"].get("certificate", 0) for message in windows)
    assert len(windows) + withheld == 5
    assert windows
    assert {message["certificate"] for message in windows} == {digest(text)}
    assert next(message["state"] for message in messages if message["topic"] == STATE) == "certificate"


def test_a_subscriber_in_another_process_says_why_it_refuses(kit, keys, endpoint):
    with subscriber(endpoint, "--require-certificate", str(keys.auditor.path)) as refuses:
        Pipeline(kit.settings(endpoint)).run()
        refuses.process.wait(60)
        assert refuses.process.returncode == 2
        assert "have no certificate" in refuses.process.stderr.read()
        assert not refuses.topic("window")


@pytest.mark.usefixtures("shipping")
def test_what_ships_counts_as_not_certified_once_its_certificate_has_expired(kit, keys, beside):
    weights = load_weights(kit.anonymizer).digest
    path = beside(certificate(keys.auditor.private, (weights, 0), not_after="2026-01-01"))
    made = plan(kit.settings("tcp://127.0.0.1:5999"))
    assert made.provenance.certificate is made.provenance.certificate_text is None
    with pytest.raises(AuditError, match="expired at the end of 2026-01-01"):  # it was asked for
        plan(kit.settings("tcp://127.0.0.1:5999", anonymize__certificate=str(path)))
    beside(certificate(keys.stranger.private, (weights, 0)))
    with pytest.raises(AuditError, match="signed with a key other than"):
        plan(kit.settings("tcp://127.0.0.1:5999"))


def test_nobody_who_was_audited_says_nothing_and_others_say_so(kit, keys, beside):
    weights = load_weights(kit.anonymizer).digest
    settings = kit.settings("tcp://127.0.0.1:5999")
    assert plan(settings).provenance.certificate is None
    beside(certificate(keys.auditor.private, (weights, 0)))
    made = plan(settings)
    assert made.provenance.certificate == Signed.read(kit.anonymizer.with_name("certificate.json")).digest
    assert not [remark for remark in made.remarks if "audit" in remark]
    beside(certificate(keys.auditor.private, (weights, 1)))
    assert any("did not pass its audit" in remark for remark in plan(settings).remarks)
    beside(certificate(keys.auditor.private, (OTHER_DIGEST, 0)))
    assert plan(settings).provenance.certificate is None
    beside(certificate(keys.auditor.private, (weights, 0), not_after="2026-01-01"))
    with pytest.raises(AuditError, match="expired at the end of 2026-01-01"):
        plan(settings)
    beside(certificate(keys.auditor.private, (weights, 0), not_after=str(datetime.now(UTC).date() + timedelta(9))))
    assert any("the certificate expires at the end of" in remark for remark in plan(settings).remarks)
    beside(tampered(certificate(keys.auditor.private, (weights, 1)), b'"status": 1', b'"status": 0'))
    with pytest.raises(AuditError, match="it was changed"):
        plan(settings)


def test_a_certificate_that_is_named_must_be_about_these_weights(kit, keys, tmp_path):
    path = tmp_path / "mine.json"
    settings = kit.settings("tcp://127.0.0.1:5999", anonymize__certificate=str(path))
    with pytest.raises(AuditError, match="cannot be read"):
        plan(settings)
    path.write_text(certificate(keys.auditor.private, (OTHER_DIGEST, 0)))
    with pytest.raises(AuditError, match=r"does not cover .*anonymizer.safetensors .*: refused"):
        plan(settings)
    text = certificate(keys.auditor.private, (load_weights(kit.anonymizer).digest, 0))
    path.write_text(text)
    assert plan(settings).provenance.certificate == digest(text)
    _, messages = run_and_listen(kit, anonymize__certificate=str(path))
    headers = [decode(frames).header for frames in messages]
    assert {header.certificate for header in headers if hasattr(header, "anonymizer")} == {digest(text)}
    assert next(header.certificate for header in headers if getattr(header, "state", "") == "certificate") == text


def test_a_key_is_read_from_either_half_and_nothing_else(keys, tmp_path):
    assert read_key(keys.auditor.path) != read_key(keys.stranger.path)
    path = tmp_path / "key"
    path.write_text("no key")
    with pytest.raises(AuditError, match="expected an Ed25519 public key in PEM"):
        read_key(path)
    with pytest.raises(AuditError, match="cannot be read"):
        subscribe("tcp://127.0.0.1:5999", require_certificate=tmp_path / "none").__next__()


@pytest.mark.usefixtures("shipping")
def test_the_certificate_that_ships_counts_only_with_the_key_of_the_project(kit, keys, beside):
    weights, settings = load_weights(kit.anonymizer).digest, kit.settings("tcp://127.0.0.1:5999")
    beside(certificate(keys.auditor.private, (weights, 0), simulated=True))
    made = plan(settings)
    assert made.provenance.certificate is not None
    assert any("evidence about simulated people only" in remark for remark in made.remarks)
    assert not any("fp32" in remark for remark in made.remarks)
    rounded = settings.model_copy(update={"anonymize": settings.anonymize.model_copy(update={"precision": "bf16"})})
    assert any("audits run in fp32 by default, and anonymize.precision is bf16" in r for r in plan(rounded).remarks)
    beside(certificate(Ed25519PrivateKey.generate(), (weights, 0)))
    with pytest.raises(AuditError, match="signed with a key other than"):
        plan(settings)


def test_shipped_names_the_key_of_the_project_on_the_command_line(keys, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("eventveil.stream.subscribe", lambda *_, **named: asked.append(named) or iter(()))
    CliRunner().invoke(app, ["subscribe", "tcp://127.0.0.1:5999", "--require-certificate", "shipped"])
    assert asked[0]["require_certificate"] == shipped.PROJECT_KEY
    path = tmp_path / "certificate.json"
    path.write_text(certificate(keys.auditor.private, (DIGEST, 0), simulated=True, look=3))
    foreign = CliRunner().invoke(app, ["audit", "verify", str(path), "--key", "shipped"])
    assert "signed with a key other than" in str(foreign.exception)
    monkeypatch.setattr(shipped, "certificate_of", lambda _: path)
    done = CliRunner().invoke(app, ["audit", "verify", "shipped"])
    assert done.exit_code == 0
    assert "simulated people only: it shows nothing about real people" in done.stdout
    assert "audit 3 of these weights" in done.stdout
