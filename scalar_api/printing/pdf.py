"""The same page as PDF. With DejaVu on the machine most scripts can be written; without it, Latin alone."""

from collections.abc import Sequence
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from scalar_api.printing.document import Document, Note

DEJAVU = Path("/usr/share/fonts/truetype/dejavu")
_GREY, _BLACK = (107, 114, 128), (22, 24, 29)
_RIGHT, _NEXT = XPos.LMARGIN, YPos.NEXT


def pdf(doc: Document, fonts: Path = DEJAVU) -> bytes:
    page = _Page(fonts)
    page.set_title(page.fit(doc.title))
    page.set_creation_date(doc.printed_for)
    page.add_page()
    _head(page, doc)
    _lines(page, doc)
    _totals(page, doc)
    for note in doc.notes:
        _note(page, note)
    return bytes(page.output())


class _Page(FPDF):
    """A4, with one family of fonts."""

    def __init__(self, fonts: Path) -> None:
        super().__init__(format="A4")
        self.set_margin(16)
        self.set_auto_page_break(auto=True, margin=18)
        self.alias_nb_pages()
        self.known: frozenset[int] | None = None
        self.family = "helvetica"
        if (fonts / "DejaVuSans.ttf").exists() and (fonts / "DejaVuSans-Bold.ttf").exists():
            self.family = "dejavu"
            self.add_font(self.family, "", fonts / "DejaVuSans.ttf")
            self.add_font(self.family, "B", fonts / "DejaVuSans-Bold.ttf")
            self.known = frozenset(self.fonts["dejavu"].cmap) & frozenset(self.fonts["dejavuB"].cmap)  # type: ignore[union-attr]

    def fit(self, text: str) -> str:
        """What the font has no sign for is a question mark."""
        if self.known is None:
            return text.encode("latin-1", "replace").decode("latin-1")
        return "".join(each if ord(each) in self.known or each == "\n" else "?" for each in text)

    def write_line(
        self, text: str, *, size: float = 9, bold: bool = False, align: str = "L", grey: bool = False
    ) -> None:
        self.set_font(self.family, "B" if bold else "", size)
        self.set_text_color(*(_GREY if grey else _BLACK))
        self.multi_cell(0, size * 0.5, self.fit(text), align=align, new_x=_RIGHT, new_y=_NEXT)

    def footer(self) -> None:
        self.set_y(-12)
        self.write_line(f"{self.page_no()} / {{nb}}", size=7, align="C", grey=True)


def _head(page: _Page, doc: Document) -> None:
    page.write_line(doc.issuer, size=11, bold=True, align="R")
    for line in doc.issuer_lines:
        page.write_line(line, align="R", grey=True)
    page.write_line(doc.title, size=18, bold=True)
    if doc.stamp:
        page.write_line(doc.stamp, size=11, bold=True, grey=True)
    page.ln(4)
    page.write_line("Bill to", size=8, grey=True)
    for line in doc.bill_to:
        page.write_line(line)
    page.ln(3)
    for name, value in doc.facts:
        page.write_line(f"{name}: {value}")
    page.ln(4)


def _lines(page: _Page, doc: Document) -> None:
    head = ("Description", "GPU-seconds", "$ per GPU-hour", "Amount")
    rows = [
        (f"{row.what}\n{row.detail}" if row.detail else row.what, row.seconds, row.price, row.amount)
        for row in doc.rows
    ]
    _table(page, head, rows or [("Nothing was used.", "", "", "")], widths=(52, 17, 17, 14))


def _totals(page: _Page, doc: Document) -> None:
    page.ln(4)
    for name, value in doc.totals:
        page.write_line(f"{name}   {value}", align="R")
    page.ln(1)
    page.write_line(f"{doc.due[0]}   {doc.due[1]}", size=13, bold=True, align="R")


def _note(page: _Page, note: Note) -> None:
    page.ln(6)
    page.write_line(note.title, size=11, bold=True)
    page.write_line(note.reason)
    page.write_line(note.where, grey=True)
    page.ln(2)
    _table(page, ("Line", "As it was", "As it should have been", "Difference"), note.rows, widths=(40, 22, 24, 14))
    page.write_line(f"Given back   {note.total}", bold=True, align="R")


def _table(page: _Page, head: Sequence[str], rows: Sequence[Sequence[str]], *, widths: tuple[int, ...]) -> None:
    page.set_font(page.family, "", 8)
    page.set_text_color(*_BLACK)
    page.set_draw_color(*_GREY)
    style = FontFace(emphasis="BOLD", color=_GREY)
    with page.table(
        col_widths=widths,
        text_align=("LEFT", "RIGHT", "RIGHT", "RIGHT"),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=style,
        line_height=4,
        padding=1,
    ) as table:
        for cells in (head, *rows):
            table.row([page.fit(cell) for cell in cells])
