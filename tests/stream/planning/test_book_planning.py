"""What a stand-in's pipeline refuses at its start: a book that is missing, damaged, or not the one of the weights."""

from __future__ import annotations

import json

import certificates
import pytest
from book_helpers import small_book
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moving_disc import moving_disc
from pipeline_setup import SENSOR, make_kit
from stand_in_helpers import WINDOW, book_of, make_stand_in_kit, stand_in_book, stand_in_model

from eventveil.errors import AuditError, BookError, ConfigError
from eventveil.models.book import Book
from eventveil.models.metadata import Metadata
from eventveil.models.weights import load_weights, save_weights
from eventveil.stream.planning.books import read_planned
from eventveil.stream.planning.planner import plan


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return make_stand_in_kit(tmp_path_factory.mktemp("kit"), moving_disc(SENSOR, 0.2))


def planned(kit, **changes):
    return plan(kit.settings("tcp://127.0.0.1:5999", **changes))


def save(kit, path, book, **window):
    model = stand_in_model(book)
    save_weights(path, model, Metadata.of(model, role="anonymizer", trained=False, **(WINDOW | window)))
    return str(path)


def test_the_book_beside_the_weights_is_used_and_the_bound_is_said(kit):
    plan = planned(kit)
    assert (plan.book.path, plan.book.digest, plan.book.words) == (book_of(kit), stand_in_book().digest, 4)
    assert plan.provenance.book == plan.book.digest
    assert plan.provenance.labels == ("hand clapping", "right hand wave", "no gesture", "nobody")
    # log2 of the sum over c <= 2 changes of C(10, c) * 3^c: 1 + 30 + 405
    assert (plan.provenance.changes_per_second, plan.provenance.bits_per_second) == (2, 8.77)
    assert "4 words, with at most 2 changes and 8.77 bits a second" in plan.book.summary
    assert plan.provenance.classifier is None


def test_a_book_may_be_anywhere(kit, tmp_path):
    (tmp_path / "elsewhere").write_bytes(book_of(kit).read_bytes())
    assert planned(kit, anonymize__book=str(tmp_path / "elsewhere")).book.path == tmp_path / "elsewhere"


@pytest.mark.parametrize(("rule", "remarks"), [({}, 0), ({"delay": 1}, 1), ({"epsilon": 1.0}, 1)])
def test_a_loop_is_announced_if_the_rule_draws_anew_in_each_pass(kit, tmp_path, rule, remarks):
    model = stand_in_model(stand_in_book(), **rule)
    save_weights(tmp_path / "w", model, Metadata.of(model, role="anonymizer", trained=False, **WINDOW))
    loop = {"uri": str(kit.recording), "stream": "a", "loop": True}
    weights = {"anonymize__weights": str(tmp_path / "w"), "anonymize__book": str(book_of(kit))}
    said = planned(kit, sources=[loop], **weights).remarks
    assert sum("stream a loops" in remark and "new delays" in remark for remark in said) == remarks


def test_a_missing_book_is_named_with_its_digest(kit, tmp_path):
    (tmp_path / "weights").write_bytes(kit.anonymizer.read_bytes())
    with pytest.raises(BookError, match=rf"--book FILE, the book with SHA-256 {stand_in_book().digest}"):
        planned(kit, anonymize__weights=str(tmp_path / "weights"))
    with pytest.raises(BookError, match="gone: cannot be read"):
        planned(kit, anonymize__book=str(tmp_path / "gone"))


def test_a_damaged_book_is_refused(kit, tmp_path):
    content = book_of(kit).read_bytes()
    (tmp_path / "cut").write_bytes(content[:-1])
    with pytest.raises(BookError, match="cut: expected a safetensors file"):
        planned(kit, anonymize__book=str(tmp_path / "cut"))
    (tmp_path / "bit").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BookError):
        planned(kit, anonymize__book=str(tmp_path / "bit"))


def test_another_book_than_that_of_the_weights_is_refused(kit, tmp_path):
    other = small_book()
    other.write(tmp_path / "other")
    with pytest.raises(BookError, match=rf"SHA-256 {stand_in_book().digest}, and this one has {other.digest}: refused"):
        planned(kit, anonymize__book=str(tmp_path / "other"))


def test_weights_that_choose_from_another_number_of_words_are_refused(kit, tmp_path):
    model = stand_in_model(stand_in_book(), words=5)
    save_weights(tmp_path / "w", model, Metadata.of(model, role="anonymizer", trained=False, **WINDOW))
    with pytest.raises(BookError, match=r"has 4 words, and .* chooses from 5: refused"):
        planned(kit, anonymize__weights=str(tmp_path / "w"), anonymize__book=str(book_of(kit)))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"window__hop": 5}, "window.hop: 5 bins of 100000 us are not the step"),
        ({"window__mode": "recording"}, "window.mode: a stand-in takes windows"),
    ],
)
def test_windows_that_do_not_end_with_the_steps_of_the_book_are_refused(kit, changes, match):
    with pytest.raises(ConfigError, match=match):
        planned(kit, **changes)


def test_weights_whose_step_is_not_that_of_the_book_are_refused(kit, tmp_path):
    weights = save(kit, tmp_path / "w", stand_in_book(), hop=2)
    with pytest.raises(ConfigError, match="2 bins of 100000 us are not the step"):
        planned(kit, anonymize__weights=weights, anonymize__book=str(book_of(kit)))


def test_a_classifier_beside_a_stand_in_is_refused(kit, tmp_path):
    other = make_kit(tmp_path, seconds=0.1)
    with pytest.raises(ConfigError, match="a stand-in says itself which gesture it shows"):
        plan(kit.settings("tcp://127.0.0.1:5999", classify__weights=str(other.classifier)))
    for changes, key in (
        ({"anonymize__book": str(book_of(kit))}, "anonymize.book"),
        ({"publish__events": True}, "publish.events"),
    ):
        with pytest.raises(ConfigError, match=f"{key}: only a stand-in publishes from a book"):
            plan(other.settings("tcp://127.0.0.1:5999", **changes))


def test_a_book_that_changes_after_the_plan_is_not_published(kit, tmp_path):
    book = tmp_path / "book"
    book.write_bytes(book_of(kit).read_bytes())
    plan = planned(kit, anonymize__book=str(book))
    assert isinstance(read_planned(plan.book), Book)
    small_book().write(book)
    with pytest.raises(BookError, match="has changed since the pipeline checked it"):
        read_planned(plan.book)


@pytest.fixture
def certified(kit, tmp_path):
    """Return a function that plans a pipeline whose certificate says these things about its weights."""

    def start(**subject):
        content = certificates.content((load_weights(kit.anonymizer).digest, 0))
        content["subjects"][0] |= subject
        path = tmp_path / "certificate.json"
        envelope = certificates.envelope(Ed25519PrivateKey.generate(), json.dumps(content).encode())
        path.write_text(json.dumps(envelope))
        return planned(kit, anonymize__certificate=str(path))

    return start


def test_a_certificate_covers_a_book_and_its_bits(certified):
    book = stand_in_book().digest
    assert certified(book=book, bits_per_second=8.77).provenance.certificate is not None
    assert certified(book=book, bits_per_second=9.0).provenance.certificate is not None
    for subject in ({}, {"book": "ab" * 32, "bits_per_second": 8.77}, {"book": book}, {"bits_per_second": 8.77}):
        with pytest.raises(AuditError, match="use the audited book"):
            certified(**subject)
    with pytest.raises(AuditError, match=r"for 8.76 bits per second, and they would publish 8.77: refused"):
        certified(book=book, bits_per_second=8.76)
