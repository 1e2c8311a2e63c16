"""In which form an answer is wanted: as `?format=` says, or else by the `Accept` header; JSON where neither does."""

from collections.abc import Collection
from enum import StrEnum

from scalar.errors import InvalidRequest


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"
    HTML = "html"
    PDF = "pdf"


MEDIA = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.HTML: "text/html",
    Format.PDF: "application/pdf",
}


def wanted(format: Format | None, accept: str | None, offered: Collection[Format]) -> Format:
    """Raises: `InvalidRequest` where `format` is none of those offered."""
    if format is not None and format not in offered:
        raise InvalidRequest(f"format: one of {', '.join(offered)}.")
    return format or _by_header(accept or "", offered)


def _by_header(accept: str, offered: Collection[Format]) -> Format:
    by_media = {MEDIA[each]: each for each in offered}
    ranked = sorted(map(_quality, accept.split(",")), key=lambda each: -each[1])
    return next((by_media[media] for media, quality in ranked if quality > 0 and media in by_media), Format.JSON)


def _quality(part: str) -> tuple[str, float]:
    media, *parameters = (each.strip() for each in part.split(";"))
    q = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return media.lower(), float(q)
    except ValueError:
        return media.lower(), 0.0
