r"""Makes the corpus anew, with the programs that people make such files with:

    apt-get install libreoffice-writer libreoffice-calc libreoffice-impress poppler-utils img2pdf \
        imagemagick pandoc mpack zip
    pip install extract-msg  # Outlook itself is not to be had: its format, by [MS-OXMSG]
    python3 tests/corpus/make.py

Three documents of each kind; each says one thing that no other does, which `facts.json` lists with
a question for it. Run once: what it made is kept, so that a newer program changes no test.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OFFICE = "urn:oasis:names:tc:opendocument:xmlns"
SPACES = " ".join(f'xmlns:{name}="{OFFICE}:{rest}:1.0"' for name, rest in (
    ("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"),
    ("presentation", "presentation"), ("style", "style"))) + (
    f' xmlns:svg="{OFFICE}:svg-compatible:1.0" xmlns:fo="{OFFICE}:xsl-fo-compatible:1.0"')
# What each document is about, and what its people call it; prices are made of its number.
THINGS = ("kestrel lamp", "walnut shelf", "copper kettle", "linen curtain", "garden bench",
          "marble vase", "willow basket", "brass mirror", "velvet cushion", "granite sink",
          "bamboo ladder", "oak cradle", "silver candlestick", "wool carpet", "cedar chest",
          "porcelain teapot", "leather stool", "crystal bowl", "iron trivet", "cotton hammock",
          "maple desk", "ceramic tile", "glass jar", "pine wardrobe", "steel rack", "cork board",
          "silk screen", "wicker chair", "bronze bell", "felt slipper", "rattan trunk",
          "birch stool", "amber lantern", "pewter mug", "slate roof", "jute sack", "ebony clock",
          "clay oven", "nickel hook", "hemp rope", "paper kite", "rubber boot", "satin ribbon",
          "straw hat", "tin whistle", "wax seal", "zinc tub", "ivory comb", "jade ring",
          "lace collar", "onyx knob", "plaster bust", "quartz lens", "tweed cap", "flint axe",
          "horn spoon", "agate bead", "birdcage", "kelp basket", "velour coat")
WRITER = {"docx": "docx", "odt": "odt", "rtf": "rtf", "pdf": "pdf", "epub": "epub", "html": "html",
          "txt": "txt:Text (encoded):UTF8"}
CALC = {"xlsx": "xlsx", "ods": "ods", "csv": "csv:Text - txt - csv (StarCalc):44,34,76"}
IMPRESS = {"pptx": "pptx", "odp": "odp"}
PICTURES = {"png": "png", "jpg": "jpg"}
KINDS = [*WRITER, *CALC, *IMPRESS, *PICTURES, "tiff", "scan.pdf", "md", "eml", "zip", "msg"]
assert len(KINDS) * 3 <= len(THINGS)


def sentence(thing: str, number: int) -> str:
    return f"The {thing} costs {1000 + 37 * number} euros and is delivered in {number + 2} days."


def text(thing: str, number: int) -> str:
    return f"""<?xml version="1.0"?><office:document {SPACES} office:version="1.3"
 office:mimetype="application/vnd.oasis.opendocument.text"><office:automatic-styles>
<style:style style:name="Large" style:family="paragraph">
<style:text-properties fo:font-size="14pt"/></style:style></office:automatic-styles>
<office:body><office:text>
<text:h text:outline-level="1">About the {thing}</text:h>
<text:p text:style-name="Large">{sentence(thing, number)}</text:p>
<text:p text:style-name="Large">Ask Zoë or Jürgen in Malmö about anything else.</text:p>
<table:table><table:table-row><table:table-cell><text:p>Part</text:p></table:table-cell>
<table:table-cell><text:p>Weight</text:p></table:table-cell></table:table-row><table:table-row>
<table:table-cell><text:p>Whole</text:p></table:table-cell><table:table-cell>
<text:p>{number + 3} kg</text:p></table:table-cell></table:table-row></table:table>
</office:text></office:body></office:document>"""


def sheet(thing: str, number: int) -> str:
    def row(*cells: str) -> str:
        return "<table:table-row>" + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p>'
            "</table:table-cell>" for cell in cells) + "</table:table-row>"
    rows = row("Product", "What is to be known") + row(thing, sentence(thing, number)) + "".join(
        row(f"Spare part {part}", f"Kept in shelf {part}") for part in range(1, 6))
    return f"""<?xml version="1.0"?><office:document {SPACES} office:version="1.3"
 office:mimetype="application/vnd.oasis.opendocument.spreadsheet"><office:body>
<office:spreadsheet><table:table table:name="Products">{rows}</table:table></office:spreadsheet>
</office:body></office:document>"""


def slides(thing: str, number: int) -> str:
    def slide(name: str, said: str, top: int) -> str:
        return (f'<draw:page draw:name="{name}"><draw:frame svg:x="2cm" svg:y="{top}cm" '
                'svg:width="22cm" svg:height="4cm"><draw:text-box>'
                f"<text:p>{said}</text:p></draw:text-box></draw:frame></draw:page>")
    return f"""<?xml version="1.0"?><office:document {SPACES} office:version="1.3"
 office:mimetype="application/vnd.oasis.opendocument.presentation"><office:body>
<office:presentation>{slide("First", f"All about the {thing}", 3)}
{slide("Second", sentence(thing, number), 5)}</office:presentation></office:body>
</office:document>"""


def run(*command: object, cwd: Path | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=cwd)


def convert(source: Path, kind: str, filters: str, target: Path) -> None:
    if target.parent == HERE and target.exists():
        return
    out = source.parent / f"out-{kind}"
    run("soffice", "--headless", "--convert-to", filters, "--outdir", out, source)
    shutil.move(next(out.glob(f"{source.stem}.*")), target)


def make(folder: Path, kind: str, number: int) -> tuple[str, str]:
    """One document; returns its name and what it is about."""
    thing = THINGS[number]
    target = HERE / f"{thing.replace(' ', '-')}.{kind}"
    flat = {"calc": "fods", "impress": "fodp"}
    room = "calc" if kind in CALC else "impress" if kind in IMPRESS else "writer"
    source = folder / f"{thing.replace(' ', '-')}.{flat.get(room, 'fodt')}"
    source.write_text((sheet if room == "calc" else slides if room == "impress" else text)(
        thing, number), encoding="utf-8")
    known = WRITER | CALC | IMPRESS | PICTURES
    if kind in known:
        convert(source, kind, known[kind], target)
        return target.name, thing
    made = folder / f"{source.stem}.odt"
    if kind in ("tiff", "scan.pdf"):
        drawn = folder / f"{source.stem}.pdf"
        convert(source, "pdf", "pdf", drawn)
        run("pdftoppm", "-r", "200", "-gray", "-singlefile",
            "-jpeg" if kind == "scan.pdf" else "-tiff", drawn, folder / "page")
        if kind == "scan.pdf":
            run("img2pdf", folder / "page.jpg", "-o", target)
        else:
            run("convert", folder / "page.tif", "-threshold", "60%", "-compress", "Group4", target)
    elif kind == "md":
        convert(source, "odt", "odt", made)
        run("pandoc", made, "-t", "gfm", "-o", target)
    elif kind == "eml":
        convert(source, "docx", "docx", folder / f"{source.stem}.docx")
        note = folder / "note.txt"
        note.write_text("What you asked for is attached.\n")
        run("mpack", "-s", f"About the {thing}", "-d", note, "-o", target,
            folder / f"{source.stem}.docx")
    elif kind == "msg":
        outlook(target, f"About the {thing}", "Dear Bo,\r\n\r\n" + sentence(thing, number))
    elif kind == "zip":
        convert(source, "odt", "odt", made)
        target.unlink(missing_ok=True)
        run("zip", "-q", target, made.name, cwd=folder)
    return target.name, thing


def outlook(target: Path, subject: str, body: str) -> None:
    """A mail as Outlook saves it."""
    from extract_msg import OleWriter  # type: ignore[import-not-found,unused-ignore]

    writer, header = OleWriter(), []

    def put(storage: list[str], tag: int, value: str) -> bytes:
        data = value.encode("utf-16-le")
        writer.addEntry([*storage, f"__substg1.0_{tag:08X}"], data)
        return struct.pack("<IIII", tag, 6, len(data) + 2, 0)
    writer.addEntry(["__nameid_version1.0"], None, storage=True)
    for name in ("00020102", "00030102", "00040102"):
        writer.addEntry(["__nameid_version1.0", f"__substg1.0_{name}"], b"")
    for tag, value in ((0x001A001F, "IPM.Note"), (0x0037001F, subject), (0x0C1A001F, "Ann Miller"),
                       (0x0C1F001F, "ann@acme.example"), (0x5D01001F, "ann@acme.example"),
                       (0x1000001F, body)):
        header.append(put([], tag, value))
    header.append(struct.pack("<IIII", 0x340D0003, 6, 0x40000, 0))  # its texts are Unicode
    to = ["__recip_version1.0_#00000000"]
    writer.addEntry(to, None, storage=True)
    people = [put(to, tag, value) for tag, value in (
        (0x3001001F, "Bo Larsen"), (0x3003001F, "bo@bolt.example"), (0x39FE001F, "bo@bolt.example"),
        (0x3002001F, "SMTP"))] + [struct.pack("<IIII", 0x0C150003, 6, 1, 0)]
    writer.addEntry([*to, "__properties_version1.0"], bytes(8) + b"".join(people))
    writer.addEntry(["__properties_version1.0"], bytes(8) + struct.pack("<IIII", 1, 0, 1, 0)
                    + bytes(8) + b"".join(header))
    writer.write(target)


def main() -> None:
    facts = []
    with tempfile.TemporaryDirectory() as folder:
        for index, kind in enumerate(KINDS):
            for number in range(3 * index, 3 * index + 3):
                name, thing = make(Path(folder), kind, number)
                facts.append({"name": name, "kind": kind, "about": thing,
                              "question": f"How much is the {thing}?",
                              "words": thing, "answer": f"{1000 + 37 * number} euros"})
                print(name, flush=True)
    (HERE / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
