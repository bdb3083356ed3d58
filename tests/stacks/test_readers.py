"""What people give an employee is read right, or says what was left out."""

from __future__ import annotations

import datetime as dt
import email.message
import io
import random
import zipfile

import openpyxl
import pypdf
import pytest
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

from stacks.extraction import Extracted, ExtractionError, extract, known_encoding
from tests.conftest import ROOT
from tests.stacks.test_extraction import OFFICE, PACKAGE, docx, encrypted, paragraph, pdf

PML = "http://schemas.openxmlformats.org/presentationml/2006/main"
DML = "http://schemas.openxmlformats.org/drawingml/2006/main"
MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
WPS = "http://schemas.microsoft.com/office/word/2010/wordprocessingShape"


@pytest.fixture
def read(tmp_path):
    def run(name: str, data: bytes, encoding: str | None = None) -> Extracted:
        path = tmp_path / name
        path.write_bytes(data)
        return extract(path, name, encoding=encoding)
    return run


# ---- text: which characters the bytes are --------------------------------------------------------

FACTS = [
    ("Price 你好", "utf-16-le"), ("Price 你好", "utf-16-be"), ("Grüße", "utf-32"),
    ("Preis 5–7 EUR, ≈ 6\nLieferung Montag", "utf-16-le"), ("Счёт за март", "utf-16-le"),
    ("Счёт за март", "utf-16-be"), ("価格は百円です。月曜日", "utf-8"), ("x", "utf-8"),
    ("価格は百円です", "iso2022_jp"), ("Straße 5", "utf-8-sig"), ("Price 5", "utf-32-le"),
]
GUESSES = [
    ("Müller schuldet €5 – „bald“ zahlbar.", "cp1252"), ("名称,价格\n苹果,5\n香蕉,7\n", "gb18030"),
    ("Der Preis beträgt 100 € für Köche.", "iso8859-15"), ("Счёт за март оплачен", "koi8-r"),
    ("Счёт за март оплачен", "cp1251"), ("Привет мир", "koi8-r"),
    ("りんご,100\nみかん,200", "cp932"),
    ("価格は百円です。月曜日に配達します。", "euc_jp"), ("가격은 백원입니다. 월요일에", "cp949"),
    ("價格是一百元，星期一送貨", "big5"), ("Η τιμή είναι 100 ευρώ", "cp1253"),
    ("המחיר הוא מאה שקלים", "cp1255"), ("السعر مئة دينار، يرجى إرسال الفاتورة", "cp1256"),
    ("Le prix est élevé, à payer avant l’été – merci à François", "cp1252"),
    ("Zażółć gęślą jaźń, cena łącznie 100 zł", "cp1250"),
    ("Příliš žluťoučký kůň úpěl ďábelské ódy, cena 100 Kč", "cp1250"),
]


@pytest.mark.parametrize(("text", "encoding"), FACTS, ids=lambda value: value[:12])
def test_what_the_bytes_say_is_a_fact(read, text, encoding):
    found = read("a.txt", text.encode(encoding))
    assert found.text == text + "\n" and not found.guessed and found.left_out == ()


@pytest.mark.parametrize(("text", "encoding"), GUESSES, ids=lambda value: value[:12])
def test_a_code_page_is_guessed_by_language_and_says_so(read, text, encoding):
    found = read("a.txt", text.encode(encoding))
    assert found.text.split() == text.split() and found.guessed
    assert text.encode(encoding).decode(found.encoding) == text


def test_a_person_knows_it_better(read):
    data = "Prix : 100 € à l’œuvre".encode("cp1252")
    assert read("a.txt", data, "windows-1252").text == "Prix : 100 € à l’œuvre\n"
    found = read("a.txt", "Grüße".encode(), "latin-1")
    assert (found.text, found.guessed, found.encoding) == ("GrÃ¼Ãe\n", False, "iso8859-1")
    for name in ("no-such", "rot13", "base64", "x" * 99, "utf-8\0"):
        with pytest.raises(ExtractionError, match="no encoding"):
            known_encoding(name)


@pytest.mark.parametrize("where", [0, 40, -1])
def test_one_bad_byte_moves_no_file_to_another_code_page(read, where):
    lines = "Preis für Müller: 5 €, größer\n" * 20
    data = lines.encode()
    found = read("a.txt", data[:where] + b"\xff" + data[where:])
    assert found.text.count("Preis für Müller: 5 €, größer") >= 19
    assert found.left_out == ("1 byte is no text and stands as \ufffd.",) and not found.guessed


def test_content_tells_before_the_name(read):
    assert read("a.txt", pdf("A page")).kind == "pdf"
    assert read("a.csv", docx(paragraph("A letter"))).text == "A letter\n"
    for data, says in ((b"PK\x03\x04" + b"other.bin" * 20, "packed file"),
                       (b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged")):
        with pytest.raises(ExtractionError, match=says):
            read("a.txt", data)


@pytest.mark.parametrize("data", [
    bytes(random.Random(1).randbytes(5000)), b"\x00\xff\xfe\x01" * 99, bytes(range(256)) * 9,
    b"\x7fELF" + bytes(4000)], ids=["noise", "marks", "all", "program"])
def test_what_is_no_text_is_not_made_one(read, data):
    with pytest.raises(ExtractionError, match="not text"):
        read("a.txt", data)


# ---- tables --------------------------------------------------------------------------------------

def test_a_long_cell_costs_no_row_and_says_that_it_was_cut(read):
    found = read("a.csv", ("Name,Text\nMeier," + "x" * 200_000 + "\nKurz,7\n").encode())
    assert found.text.endswith("| Kurz | 7 |\n") and "… (cut)" in found.text
    assert found.left_out == ("A cell of row 2 is very long and was cut.",)


def test_a_quote_that_never_ends_costs_no_row(read):
    found = read("a.csv", b'name,price\n"tea,5\ncoffee,7\n"a ""good""\ncake",9\nlast,1\n')
    assert found.text.splitlines()[2:] == [
        '| "tea | 5 |', "| coffee | 7 |", '| a "good" cake | 9 |', "| last | 1 |"]
    assert "Row 2 has a quotation mark" in found.left_out[0]
    inches = read("b.csv", b'item,size\npipe,5"\ntube,7"\nrod,3\n')
    assert inches.text.splitlines()[2:] == ['| pipe | 5" |', '| tube | 7" |', "| rod | 3 |"]


@pytest.mark.parametrize("delimiter", list(",;\t|:^~"))
def test_any_delimiter(read, delimiter):
    rows = [["name", "price", "note"], ["Müller", "1.5", "a b"], ["Meier", "2", ""]]
    found = read("a.csv", "\n".join(delimiter.join(row) for row in rows).encode())
    assert found.text.splitlines()[0] == "| name | price | note |"
    assert found.text.splitlines()[3] == "| Meier | 2 |  |"


def test_the_line_that_excel_writes_for_itself_is_no_row(read):
    assert read("a.csv", b"sep=;\r\na;b\r\n1,5;2\r\n").text == (
        "| a | b |\n| --- | --- |\n| 1,5 | 2 |\n")


# ---- PDF -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("algorithm", ["RC4-40", "AES-128", "AES-256"])
def test_a_pdf_without_a_password_opens_whatever_its_cipher(read, algorithm):
    assert read("a.pdf", encrypted("", algorithm)).text == "Locked text\n"
    with pytest.raises(ExtractionError, match="password"):
        read("a.pdf", encrypted("secret", algorithm))


def test_a_page_without_text_is_told(read):
    found = read("a.pdf", pdf("First", "", "Third", ""))
    assert found.text == ("First\n\n(Page 2 has no text; it may be a scan.)\n\n"
                          "[Page 3]\n\nThird\n\n(Page 4 has no text; it may be a scan.)\n")
    assert found.left_out == ("Pages 2, 4 have no text; they may be scans.",)


def test_filled_in_fields_and_comments_are_read(read):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("A form")))
    def text(value: str) -> TextStringObject:
        return TextStringObject(value)
    field = writer._add_object(DictionaryObject({
        NameObject("/T"): text("price"), NameObject("/FT"): NameObject("/Tx"),
        NameObject("/V"): text("Field value PP8"), NameObject("/Subtype"): NameObject("/Widget")}))
    comment = writer._add_object(DictionaryObject({
        NameObject("/Subtype"): NameObject("/Text"), NameObject("/Contents"): text("Too dear")}))
    writer.pages[0][NameObject("/Annots")] = ArrayObject([field, comment])
    writer._root_object[NameObject("/AcroForm")] = DictionaryObject({
        NameObject("/Fields"): ArrayObject([field])})
    out = io.BytesIO()
    writer.write(out)
    assert read("a.pdf", out.getvalue()).text == (
        "A form\n\n(Comment: Too dear)\n\nForm fields:\n\n- price: Field value PP8\n")


# ---- Word ----------------------------------------------------------------------------------------

def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r>"


def cell(text: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(text) if text else '<w:p/>'}</w:tc>"


BOX = f"""<w:p><w:r><mc:AlternateContent xmlns:mc="{MC}"><mc:Choice Requires="wps"><w:drawing>
<wps:txbx xmlns:wps="{WPS}"><w:txbxContent>{paragraph("In the box")}</w:txbxContent></wps:txbx>
</w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent>{paragraph("In the box")}
</w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>"""
FORMULA = (f'<w:p><m:oMathPara xmlns:m="{MATH}"><m:oMath><m:r><m:t>x=</m:t></m:r><m:f><m:num><m:r>'
           "<m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f><m:sSup><m:e>"
           "<m:r><m:t>y</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:oMath>"
           "</m:oMathPara></w:p>")
RUBY = ("<w:p><w:r><w:ruby><w:rubyPr/><w:rt><w:r><w:t>とうきょう</w:t></w:r></w:rt><w:rubyBase>"
        "<w:r><w:t>東京</w:t></w:r></w:rubyBase></w:ruby></w:r></w:p>")


@pytest.mark.parametrize(("body", "text"), [
    (f"<w:p><w:fldSimple w:instr='PAGE'>{run('Field')}</w:fldSimple></w:p>", "Field"),
    (FORMULA, "x=(a+b)/2y^2"), (RUBY, "東京(とうきょう)"),
    (f"<w:p><w:bdo w:val='rtl'>{run('שלום', '<w:rtl/>')}</w:bdo></w:p>", "שלום"),
    (f"<w:p><w:dir w:val='rtl'>{run('مرحبا')}</w:dir></w:p>", "مرحبا"),
    (f"<w:sdt><w:sdtPr/><w:sdtContent>{paragraph('A control')}</w:sdtContent></w:sdt>",
     "A control"),
    (f"<w:p><w:ins w:id='1'>{run('New')}</w:ins><w:del w:id='2'><w:r><w:delText>Old"
     "</w:delText></w:r></w:del></w:p>", "New"),
    (f"<w:p><w:moveFrom w:id='1'>{run('gone')}</w:moveFrom>{run('stays')}</w:p>", "stays"),
    (f"<w:p>{run('Visible')}{run(' hidden', '<w:vanish/>')}"
     + run(" shown", '<w:vanish w:val="0"/>') + "</w:p>", "Visible shown"),
    (paragraph("Before") + BOX + paragraph("After"), "Before\n\nIn the box\n\nAfter"),
], ids=["field", "formula", "ruby", "bdo", "dir", "control", "change", "move", "hidden", "box"])
def test_what_a_reader_sees_of_a_word_document(read, body, text):
    assert read("a.docx", docx(body)).text == text + "\n"


def test_headers_and_footers_are_read_once(read):
    found = read("a.docx", docx(paragraph("Body."), header1=paragraph("Header price"),
                                header2=paragraph("Header price"), footer1=paragraph("Page foot")))
    assert found.text == "Header price\n\nBody.\n\nPage foot\n"
    assert read("b.docx", docx("", header1=paragraph("Only this"))).text == "Only this\n"


def test_hidden_by_its_style_is_hidden(read):
    styles = ("<w:style w:type='character' w:styleId='Secret'><w:rPr><w:vanish/></w:rPr></w:style>"
              "<w:style w:type='character' w:styleId='Child'><w:basedOn w:val='Secret'/></w:style>")
    body = f"<w:p>{run('Seen')}" + run(" unseen", '<w:rStyle w:val="Child"/>') + "</w:p>"
    assert read("a.docx", docx(body, styles=styles)).text == "Seen\n"


def test_merged_cells_stay_under_their_heading(read):
    table = "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in (
        cell("h1") + cell("h2") + cell("h3"),
        cell("A", '<w:vMerge w:val="restart"/>') + cell("one") + cell("x"),
        cell("", "<w:vMerge/>") + cell("two") + cell("y"),
        cell("wide", '<w:gridSpan w:val="2"/>') + cell("z"))) + "</w:tbl>"
    rows = read("a.docx", docx(table)).text.splitlines()
    assert [row for row in rows if "two" in row] == ["|  | two | y |"]
    assert [row for row in rows if "wide" in row] == ["| wide |  | z |"]


def test_what_is_not_read_is_told(read):
    found = read("a.docx", docx(paragraph("Text"), comments="<w:comment w:id='1'/>"
                                "<w:comment w:id='2'/>"))
    assert found.left_out == ("2 comments are not read.",)


def test_of_a_very_long_document_there_is_a_first_part(read, monkeypatch):
    from stacks import extraction
    monkeypatch.setattr(extraction, "MAX_OUTPUT", 200_000)
    body = "".join(paragraph(f"Paragraph {n} of a very long book about tea.")
                   for n in range(40_000))
    found = read("a.docx", docx(body))
    assert found.truncated and found.text.startswith("Paragraph 0 of a very long book")
    assert "Paragraph 2000 of" in found.text


# ---- the kinds that people have ------------------------------------------------------------------

def packed(first: str = "", **files: str) -> bytes:
    """A .zip; `first`: what its first part, called mimetype, says."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        if first:
            made.writestr("mimetype", first, zipfile.ZIP_STORED)
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def workbook() -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in (["Item", "Price", "From", "Sold"],
                ["Tea | green", 4.5, dt.datetime(2026, 3, 1), True],
                [None, None, None, None], ["Coffee", 7, None, None]):
        book.active.append(row)
    book.create_sheet("Stock").append(["Müller", 3])
    hidden = book.create_sheet("Secret")
    hidden.append(["salary", 1])
    hidden.sheet_state = "hidden"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_spreadsheet(read):
    found = read("a.xlsx", workbook())
    assert found.text == (
        "## Prices\n\n| Item | Price | From | Sold |\n| --- | --- | --- | --- |\n"
        "| Tea \\| green | 4.5 | 2026-03-01 | yes |\n| Coffee | 7 |\n\n"
        "## Stock\n\n| Müller | 3 |\n| --- | --- |\n")
    assert found.left_out == ("1 hidden sheet or slide is not read.",)
    assert read("a.txt", workbook()).kind == "xlsx", "its content says so"


def slide(body: str, show: str = "1") -> str:
    return (f'<p:sld xmlns:p="{PML}" xmlns:a="{DML}" show="{show}"><p:cSld><p:spTree>{body}'
            "</p:spTree></p:cSld></p:sld>")


def shape(*lines: str) -> str:
    return "<p:sp><p:txBody>" + "".join(
        f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in lines) + "</p:txBody></p:sp>"


def test_slides_in_their_order_with_tables_and_notes(read):
    grid = ("<p:graphicFrame><a:tbl><a:tr><a:tc><a:t>a</a:t></a:tc><a:tc><a:t>b</a:t></a:tc></a:tr>"
            "<a:tr><a:tc><a:t>1</a:t></a:tc><a:tc><a:t>2</a:t></a:tc></a:tr></a:tbl>"
            "</p:graphicFrame>")
    link = '<Relationship Id="{}" Target="{}"/>'
    data = packed(**{
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{PML}" xmlns:r="{OFFICE}"><p:sldIdLst>'
        '<p:sldId r:id="r2"/><p:sldId r:id="r1"/><p:sldId r:id="r3"/></p:sldIdLst>'
        "</p:presentation>",
        "ppt/_rels/presentation.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + "".join(link.format(f"r{n}", f"{at}slides/slide{n}.xml")
                  for n, at in ((1, ""), (2, "/ppt/"), (3, "../ppt/")))
        + "</Relationships>",
        "ppt/slides/slide1.xml": slide(shape("Second") + grid),
        "ppt/slides/slide2.xml": slide(shape("First", "Subtitle")),
        "ppt/slides/slide3.xml": slide(shape("Hidden"), show="0"),
        "ppt/slides/_rels/slide2.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + link.format("n", "../notesSlides/notesSlide1.xml") + "</Relationships>",
        "ppt/notesSlides/notesSlide1.xml": slide(shape("Say hello"))})
    found = read("a.pptx", data)
    assert found.text == ("## Slide 1\n\nFirst\n\nSubtitle\n\nNotes: Say hello\n\n## Slide 2\n\n"
                          "Second\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")
    assert found.left_out == ("1 hidden sheet or slide is not read.",)


def open_document(kind: str, body: str) -> bytes:
    names = "".join(f' xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{full}:1.0"'
                    for short, full in (("office", "office"), ("text", "text"), ("table", "table"),
                                        ("draw", "drawing")))
    return packed(f"application/vnd.oasis.opendocument.{kind}", **{
        "META-INF/manifest.xml": "<manifest/>",
        "content.xml": f"<office:document-content{names}><office:body><office:{kind}>{body}"
                       f"</office:{kind}></office:body></office:document-content>"})


@pytest.mark.parametrize(("name", "kind", "body", "text"), [
    ("a.odt", "text", '<text:h text:outline-level="2">Title</text:h><text:p>One<text:s text:c="2"/>'
     "two<text:line-break/>three</text:p><text:list><text:list-item><text:p>x</text:p>"
     "</text:list-item></text:list>", "## Title\n\nOne  two\nthree\n\n- x\n"),
    ("a.ods", "spreadsheet", '<table:table table:name="S"><table:table-row><table:table-cell>'
     '<text:p>a</text:p></table:table-cell><table:table-cell table:number-columns-repeated="2">'
     "<text:p>b</text:p></table:table-cell><table:table-cell "
     'table:number-columns-repeated="16000"/></table:table-row></table:table>',
     "## S\n\n| a | b | b |\n| --- | --- | --- |\n"),
    ("a.odp", "presentation", '<draw:page draw:name="Start"><draw:frame><draw:text-box>'
     "<text:p>Hello</text:p></draw:text-box></draw:frame></draw:page>", "## Start\n\nHello\n"),
])
def test_open_document(read, name, kind, body, text):
    found = read(name, open_document(kind, body))
    assert (found.text, found.kind) == (text, name[2:])


def test_a_mail_with_its_attachments(read):
    message = email.message.EmailMessage()
    message["From"], message["To"] = "Ann <ann@acme.test>", "bo@bolt.test"
    message["Subject"] = "Preise für März"
    message.set_content("Guten Tag, anbei die Preise.")
    message.add_alternative("<p>Guten Tag</p>", subtype="html")
    message.add_attachment(b"tea,5\n", maintype="text", subtype="csv", filename="prices.csv")
    message.add_attachment(pdf("From a PDF"), maintype="application", subtype="pdf",
                           filename="offer.pdf")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="logo.png")
    found = read("a.eml", message.as_bytes())
    for part in ("Subject: Preise für März", "anbei die Preise", "## Attachment: prices.csv",
                 "| tea | 5 |", "From a PDF"):
        assert part in found.text
    assert found.left_out == ("1 embedded file is not read; upload it by itself.",)


def bundle(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def test_a_mail_of_outlook_s(read):
    data = (ROOT / "tests" / "corpus" / "birdcage.msg").read_bytes()
    found = read("a.msg", data)
    assert found.text.startswith('From: "Ann Miller" <ann@acme.example>\n'
                                 "To: Bo Larsen <bo@bolt.example>\nSubject: About the birdcage\n")
    assert "Dear Bo," in found.text and found.left_out == ()
    with pytest.raises(ExtractionError, match="old format of Office"):
        read("a.doc.txt", data)
    with pytest.raises(ExtractionError, match="damaged"):
        read("a.msg", data[:1500])


def test_a_zip_of_documents_is_read_document_by_document(read):
    found = read("all.zip", bundle(**{
        "offers/tea.txt": "Grüner Tee kostet 5 €".encode(), "offers/coffee.docx": docx(
            paragraph("Coffee costs 7")), "stock.xlsx": workbook(), "a.pdf": pdf("From a PDF"),
        "__MACOSX/._a.pdf": b"x", ".DS_Store": b"x", "offers/": b""}))
    assert found.kind == "zip"
    for part in ("# offers/tea.txt\n\nGrüner Tee kostet 5 €", "# offers/coffee.docx\n\nCoffee",
                 "Müller", "# a.pdf\n\nFrom a PDF"):
        assert part in found.text, part
    assert "MACOSX" not in found.text and "DS_Store" not in found.text
    assert found.left_out == ("1 document in it was not read whole; by itself it says what is "
                              "missing.",), "the workbook has a hidden sheet"


def test_what_a_zip_holds_that_is_not_read_is_counted(read):
    found = read("all.zip", bundle(**{
        "a.txt": b"Hello", "logo.png": b"\x89PNG", "inner.zip": bundle(b=b"x"), "b.docx": b"no",
        "c.txt": "Счёт за март".encode("koi8-r")}))
    assert "Hello" in found.text and found.left_out == (
        "3 embedded files are not read; upload them by themselves.",
        "1 document in it was not read whole; by itself it says what is missing.")
    many = bundle(**{f"{n:03}.txt": b"line %d" % n for n in range(230)})
    found = read("many.zip", many)
    assert "line 199" in found.text and "line 200" not in found.text
    assert found.left_out == ("30 embedded files are not read; upload them by themselves.",)


def test_a_zip_that_is_a_bomb_or_locked_or_something_else_is_refused(read):
    with pytest.raises(ExtractionError, match="unpacks to far more"):
        read("bomb.zip", bundle(**{f"{n}.txt": b"0" * (20 << 20) for n in range(9)}))
    locked = bytearray(bundle(a=b"secret"))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(mark) + at] |= 1
    with pytest.raises(ExtractionError, match="encrypted"):
        read("locked.zip", bytes(locked))
    with pytest.raises(ExtractionError, match="damaged"):
        read("cut.zip", bundle(a=b"x" * 100)[:-40])
    assert read("really.zip", docx(paragraph("A letter"))).kind == "docx"
    with pytest.raises(ExtractionError, match="no text in it"):
        read("empty.zip", bundle(**{"logo.png": b"x", "__MACOSX/a": b"x"}))


def test_a_mail_s_attachments_of_every_kind_are_read(read):
    message = email.message.EmailMessage()
    message["Subject"] = "Stock"
    message.set_content("See there.")
    message.add_attachment(workbook(), maintype="application", subtype="vnd", filename="s.xlsx")
    message.add_attachment(b"%PDF-broken", maintype="application", subtype="pdf", filename="b.pdf")
    found = read("a.eml", message.as_bytes())
    assert "Müller" in found.text
    assert found.left_out == ("1 embedded file is not read; upload it by itself.",
                              "1 document in it was not read whole; by itself it says what is "
                              "missing.")


def book() -> bytes:
    return packed("application/epub+zip", **{
        "META-INF/container.xml": '<c:container xmlns:c="urn:oasis:names:tc:opendocument:xmlns:'
        'container"><c:rootfile full-path="O/b.opf"/></c:container>',
        "O/b.opf": '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" '
        'href="a.xhtml"/><item id="b" href="t/b.xhtml"/></manifest><spine><itemref idref="b"/>'
        '<itemref idref="a"/></spine></package>',
        "O/a.xhtml": "<html><body><p>The end.</p></body></html>",
        "O/t/b.xhtml": "<html><body><h1>Tea</h1><p>It begins.</p></body></html>"})


RTF = rb"{\rtf1\ansi\ansicpg1252 Gr\'fc\'dfe aus {\b M\'fcnchen}\par Ende}"


def test_a_book_in_its_order(read):
    assert read("a.epub", book()).text == "# Tea\n\nIt begins.\n\nThe end.\n"


def test_every_kind_that_is_read_is_read_within_a_zip_too(read):
    found = read("all.zip", bundle(**{"a.rtf": RTF, "b.epub": book(), "really.txt": book(),
                                      "c.html": b"<p>Page</p>", "d.tsv": b"a\tb\n1\t2\n"}))
    for part in ("aus München", "# b.epub\n\n# Tea", "# really.txt\n\n# Tea", "Page", "| 1 | 2 |"):
        assert part in found.text, part
    assert found.left_out == ()


def test_rtf_and_plain_kinds(read):
    assert read("a.rtf", RTF).text.split() == ["Grüße", "aus", "München", "Ende"]
    for name, data in (("a.json", b'{"price": 5}'), ("a.yaml", b"price: 5"), ("a.log", b"price 5"),
                       ("a.xml", b"<price>5</price>")):
        assert "price" in read(name, data).text
    assert read("a.tsv", b"a\tb\n1\t2\n").text.splitlines()[2] == "| 1 | 2 |"


@pytest.mark.parametrize("name", ["a.xlsx", "a.pptx", "a.odt", "a.epub"])
def test_what_unpacks_to_far_more_is_refused(read, name):
    marks = {"a.xlsx": "xl/workbook.xml", "a.pptx": "ppt/presentation.xml", "a.odt": "content.xml",
             "a.epub": "META-INF/container.xml"}
    kinds = {"a.odt": "application/vnd.oasis.opendocument.text", "a.epub": "application/epub+zip"}
    with pytest.raises(ExtractionError, match="unpacks to far more"):
        read(name, packed(kinds.get(name, ""), **{marks[name]: " " * (160 << 20)}))
