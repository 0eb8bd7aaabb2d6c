"""The documents of an audit: the page that a privacy officer reads, and the certificate that detects changes."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import combinations
from typing import get_args

import pytest
from audit_reports import TENSORS, figure, signed, simulated, subject, with_everything
from certificates import certificate, tampered
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console
from typer.testing import CliRunner

from eventveil.audit.figures import Attribute, Faces, Knowledge, Likeness, Replay
from eventveil.audit.report import plots
from eventveil.audit.report.certificate import certify, verify
from eventveil.audit.report.html import certificate_page, page, write_pages
from eventveil.audit.report.report import write_report
from eventveil.audit.report.summary import KINDS
from eventveil.cli import app, audit
from eventveil.errors import AuditError


class Links(HTMLParser):
    """Collects everything that a page could load, and its text."""

    def __init__(self):
        super().__init__()
        self.loaded, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "style")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def shown(tmp_path):
    """Return a function that renders the page of a report."""
    return lambda report, sheets=(): page(report, signed(report, tmp_path), list(sheets))


def test_the_page_loads_nothing_and_begins_with_the_verdicts(report, shown):
    text = shown(report)
    links = Links()
    links.feed(text)
    assert len(links.loaded) == 3  # the plots
    assert all(value.startswith("data:image/svg+xml;base64,") for value in links.loaded)
    assert not set(links.tags) & {"script", "link", "iframe", "object", "embed", "form", "b<i>"}
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    words = " ".join(links.text.split())
    assert (
        words.index("hidden<i>: Pass (private enough")
        < words.index("bare: Fail (not private)")
        < words.index("Privacy and utility")
    )
    assert "That is no extra privacy" in words
    assert "a <clap> 50.0 %" in words
    # Averaging: with the rule, and without it in two ways.
    assert "4.0 % (1.0 to 7.0) 50.0 % (47.0 to 53.0) 20.0 % (17.0 to 23.0)" in words
    assert (
        "Not tried: undoing the anonymizer, pictures reconstructed from windows, faces in pictures, guessing the noise"
        in words
    )


def test_page_one_answers_a_privacy_officer_and_the_rest_has_the_order_of_the_standard(report, shown):
    links = Links()
    links.feed(shown(report))
    words = " ".join(links.text.split())
    order = [
        "What leaves the machine", "Who could learn what", "Who tried?", "How long is this valid?",
        "ISO/IEC 27559:2022",
        "1. Context and threats (6)", "2. Data and attack model (7)", "3. Maximum and average risk (7.3.2)",
        "4. Identifiability (8.2)", "5. Adversarial testing (8.2.3)", "6. Mitigation and governance (8.3, 9)",
    ]  # fmt: skip
    places = [words.index(text) for text in order]
    assert places == sorted(places)
    assert re.search(r"Until the end of 20\d\d-\d\d-\d\d \(UTC\)", words)
    assert "1 attacker, of the kinds that section 2 explains, tried it on 40 people" in words
    assert "Who is it, of people seen before? advantage 4.0 % (95 % interval 1.0 % to 7.0 %)" in words


MEASURES = (
    "advantage", "95 % interval", "ceiling", "linkability", "singling out", "linked with certainty", "rank-1", "rank-5",
    "mAP", "EER", "D", "true matches at 1 % false", "retrained", "unchanged", "dominated", "restored", "SSIM", "PSNR",
    "balanced accuracy", "informed",
)  # fmt: skip


class Definitions(Links):
    """Marks what a <dfn> defines, and leaves out verdicts, whose words are those of the terminal."""

    def __init__(self):
        super().__init__()
        self.hidden = False

    def handle_starttag(self, tag, attrs):
        if tag in ("style", "title") or "verdict" in dict(attrs).get("class", ""):
            self.hidden = True
        self.text += "[[" if tag == "dfn" else ""

    def handle_endtag(self, tag):
        self.text += "]]" if tag == "dfn" else ""
        if tag in ("div", "style", "title"):
            self.hidden = False

    def handle_data(self, data):
        self.text += "" if self.hidden else data


def test_every_kind_of_attacker_is_explained():
    assert set(KINDS) == set(get_args(Knowledge))


def test_every_measure_is_explained_where_it_appears_first(report, shown):
    definitions = Definitions()
    definitions.feed(shown(with_everything(report)))
    words = " ".join(definitions.text.split())
    for measure in MEASURES:
        found = re.search(rf"(?<![\w-]){measure}(?![\w-])", words, 0 if measure == "D" else re.IGNORECASE)
        assert found, measure
        assert words[found.start() - 2 : found.start()] == "[[", words[found.start() - 60 : found.end() + 40]


def test_the_page_tells_what_the_other_attackers_got(report, shown):
    other = {
        "restored": figure(0.12),
        "likeness": Likeness(ssim=figure(0.25, 0.2), psnr_db=figure(11.0, 10.5)),
        "faces": Faces(windows=figure(0.12, 0.11), recording=0.5, recording_chance=0.1, pictures=40),
        "replay": Replay(noise=True, guesses=768, explained=figure(0.01), succeeded=False),
        "attributes": (
            Attribute(name="glasses", probe="cnn", classes=("glasses", "none"), people=40, accuracy=figure(0.6, 0.5)),
        ),
    }
    raw, hidden, bare = report.subjects
    tested = hidden.model_copy(update=other)
    no_noise = bare.model_copy(update={"replay": Replay(noise=False, guesses=0, explained=None, succeeded=False)})
    links = Links()
    links.feed(shown(report.model_copy(update={"subjects": (raw, tested, no_noise)})))
    words = "".join(links.text.split())
    for text in ("hidden<i> 12.0 % (2.0 to 22.0)", "0.250 (0.150 to 0.350; 0.200)", "11.0 (10.9 to 11.1; 10.5)",
                 "12.0 % (2.0 to 22.0; 11.0 %) 50.0 % of 40 (upside down: 10.0 %)",
                 "768 1.0 % (-9.0 to 11.0; 0.0 %) The noise was not predicted", "bare 0 - It draws no noise",
                 "glasses (glasses, none) cnn 40 60.0 % (50.0 to 70.0; 50.0 %)", "work/pictures.html"):  # fmt: skip
        assert "".join(text.split()) in words
    assert "Nottried" not in words


@pytest.mark.parametrize("simulated", [False, True])
def test_pictures_of_real_people_are_in_the_private_page_alone(report, tmp_path, simulated):
    sheets = tmp_path / "work" / "pictures"
    sheets.mkdir(parents=True)
    for name in ("hidden", "recording-hidden"):
        (sheets / f"{name}.png").write_bytes(f"picture of {name}".encode())
    pictured = report.subjects[1].model_copy(update={"likeness": Likeness(ssim=figure(0.2), psnr_db=figure(9.0))})
    data = report.data.model_copy(update={"simulated": simulated})
    report = report.model_copy(update={"data": data, "subjects": (report.subjects[0], pictured)})
    write_pages(tmp_path, report, signed(report, tmp_path))
    public, private = (tmp_path / "report.html").read_text(), (tmp_path / "work" / "pictures.html").read_text()
    encoded = {
        name: base64.b64encode(f"picture of {name}".encode()).decode() for name in ("hidden", "recording-hidden")
    }
    assert all(picture in private for picture in encoded.values())
    assert "do not pass this page on" in private
    assert ("image/png;base64," + encoded["hidden"] in public) == simulated
    assert encoded["recording-hidden"] not in public
    assert ("image/png" in public) == simulated


def test_the_certificate_page_has_what_was_signed_and_nothing_of_it_becomes_markup(report, tmp_path):
    papers = signed(report, tmp_path)
    links = Links()
    links.feed(certificate_page(report, papers))
    assert (links.loaded, set(links.tags) & {"script", "img", "i"}) == ([], set())
    words = " ".join(links.text.split())
    for text in ("hidden<i>: Pass", "bare: Fail", str(papers.certificate.not_after), papers.fingerprint, papers.key,
                 papers.certificate.report, TENSORS, report.audited[0].verdict.text):  # fmt: skip
        assert text in words
    assert "simulated people only" not in words
    report = report.model_copy(update={"data": simulated(report)})
    links.feed(certificate_page(report, signed(report, tmp_path)))
    assert "The evidence is about simulated people only. It shows nothing about real people." in links.text


def test_labels_and_legends_of_plots_are_inside_their_axes(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "_svg", figures.append)
    points = ((0.0, 1.0), (1.0, 1.0), (1.0, 0.0), (0.0, 0.0), (0.5, 0.5), *[(0.02, 0.99)] * 7)
    subjects = [subject(f"noisy_channel-2026-{at}", leak, use=use) for at, (leak, use) in enumerate(points)]
    plots.frontier(subjects)
    plots.observed(subjects[:3])
    plots.crowds(subjects[:3])
    for drawn in figures:
        FigureCanvasAgg(drawn).draw()
        (axis,) = drawn.axes
        legend = axis.get_legend()
        box, inside = legend.get_window_extent(), axis.bbox
        names = [text.get_text() for text in legend.get_texts()]
        assert names == [*(one.name for one in subjects[: len(names) - 1]), "blind guessing"]
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1
        assert not list(axis.texts)
        ticks = [tick.label1.get_window_extent() for tick in axis.xaxis.get_major_ticks()]
        assert not any(one.overlaps(other) for one, other in combinations(ticks, 2))


def test_the_terminal_shows_all_of_it_in_80_columns(report, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(audit, "stdout", Console(file=shown, width=80, soft_wrap=True))
    audit._print_report(report)
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    rows = [" ".join(line.split()) for line in lines]
    at = rows.index("hidden<i> 4.0 40.0 90.0 90.0")
    assert rows[at + 1] == "1 to 7 30 to 50 80 to 95 80 to 95"
    assert rows[-2].startswith("bare: Fail: an attacker gained 50.0%")  # the verdict comes last


def test_who_would_put_real_people_into_the_page_is_stopped(report, shown):
    with pytest.raises(AssertionError, match="private"):
        shown(report, [("hidden", "data:image/png;base64,")])


def test_a_certificate_holds_and_nothing_of_it_can_be_changed(report, tmp_path):
    write_report(tmp_path, report)
    key = tmp_path / "key.pem"
    made, path = certify(tmp_path, report, key).certificate, tmp_path / "certificate.json"
    assert key.stat().st_mode & 0o077 == 0
    assert made.report == hashlib.sha256((tmp_path / "report.json").read_bytes()).hexdigest()
    assert verify(path, key=key, report=tmp_path / "report.json", weights=TENSORS).text == path.read_text()
    assert verify(path).certificate == made
    assert [(one.name, one.status) for one in made.subjects] == [("hidden<i>", 0), ("bare", 1)]
    text = path.read_text()
    for old, new in ((b"0.1", b"0.5"), (b"true", b"false"), (b'"status":1', b'"status":0'), (b"bare", b"hide")):
        path.write_text(tampered(text, old, new))
        with pytest.raises(AuditError, match="it was changed, do not trust it"):
            verify(path)


def test_a_certificate_of_a_stand_in_names_its_book_and_its_bits(report, tmp_path):
    config = {"book": "cd" * 32, "words": 13, "changes_per_second": 1}
    about = {"kind": "stand_in", "config": config, "bin_us": 50_000, "hop": 2, "trained": True}
    subjects = [one.model_copy(update={"about": about}) if one.name == "bare" else one for one in report.subjects]
    report = report.model_copy(update={"subjects": tuple(subjects)})
    write_report(tmp_path, report)
    papers = certify(tmp_path, report, tmp_path / "key.pem")
    hidden, bare = papers.certificate.subjects
    assert (hidden.book, hidden.bits_per_second) == (None, None)
    assert (bare.book, bare.bits_per_second) == ("cd" * 32, 6.92)  # log2(1 + 10 * 12), in ten steps a second
    text = " ".join(page(report, papers, []).split())
    assert "public book of 13 words. The choice reveals at most 6.92 bits per second." in text


def test_a_certificate_is_held_to_the_key_the_report_and_the_weights(report, tmp_path):
    write_report(tmp_path, report)
    certify(tmp_path, report, tmp_path / "key.pem")
    path = tmp_path / "certificate.json"
    private = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    public = tmp_path / "public.pem"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    verify(path, key=public)
    stranger = Ed25519PrivateKey.generate().public_key()
    public.write_bytes(stranger.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(AuditError, match="signed with a key other than"):
        verify(path, key=public)
    with pytest.raises(AuditError, match="is not about these weights"):
        verify(path, weights="cd" * 32)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(AuditError, match="is not the report"):
        verify(path, report=tmp_path / "report.json")


def test_the_auditor_chooses_how_long_a_certificate_counts_and_verify_says_so(report, tmp_path):
    write_report(tmp_path, report)
    today = datetime.now(UTC).date()
    for arguments, days in (((), 365), ((20,), 20)):
        papers = certify(tmp_path, report, tmp_path / "key.pem", *arguments)
        assert (papers.certificate.not_after - today).days in (days, days + 1)  # + 1: midnight has just passed
    done = CliRunner().invoke(app, ["audit", "verify", str(tmp_path / "certificate.json")])
    assert f"valid until {papers.certificate.not_after}" in done.stdout
    assert f"fingerprint {papers.fingerprint}" in done.stdout
    assert "the certificate expires at the end of" in done.stderr
    private = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    (tmp_path / "certificate.json").write_text(certificate(private, (TENSORS, 0), not_after="2026-01-01"))
    done = CliRunner().invoke(app, ["audit", "verify", str(tmp_path / "certificate.json")])
    assert "expired at the end of 2026-01-01 (UTC): refused; audit the weights again" in str(done.exception)


def test_a_certificate_counts_from_the_end_of_its_audit_and_not_from_the_day_of_signing(report, tmp_path):
    ended = datetime.now(UTC) - timedelta(days=30)
    report = report.model_copy(update={"made": report.made.model_copy(update={"at": ended.isoformat()})})
    write_report(tmp_path, report)
    papers = certify(tmp_path, report, tmp_path / "key.pem", 40)
    assert papers.certificate.not_after == ended.date() + timedelta(days=40)
    (tmp_path / "certificate.json").unlink()
    with pytest.raises(AuditError, match="more than 20 days ago: its certificate would have expired"):
        certify(tmp_path, report, tmp_path / "key.pem", 20)
    assert not (tmp_path / "certificate.json").exists()


def test_nothing_in_a_certificate_controls_the_terminal(tmp_path):
    text = certificate(Ed25519PrivateKey.generate(), (TENSORS, 0), made="now\x1b[2J")
    (tmp_path / "certificate.json").write_text(text)
    done = CliRunner().invoke(app, ["audit", "verify", str(tmp_path / "certificate.json")])
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": 2}'])
def test_files_that_are_not_a_certificate_or_a_key_are_reported(tmp_path, report, content):
    path = tmp_path / "some"
    path.write_text(content)
    with pytest.raises(AuditError, match="expected an audit certificate"):
        verify(path)
    write_report(tmp_path, report)
    with pytest.raises(AuditError, match="expected an Ed25519 private key in PEM"):
        certify(tmp_path, report, path)
    with pytest.raises(AuditError, match="cannot be read"):
        verify(tmp_path / "none")
