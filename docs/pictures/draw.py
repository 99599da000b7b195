"""Draw the pictures of SMI attention, in English and Chinese: python docs/pictures/draw.py."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

__all__ = ["LANGUAGES", "draw"]

WIDTH, HEIGHT = 960, 676
INK, MUTED, PALE, PAPER = "#1f2933", "#52606d", "#dfe3e8", "#ffffff"
OWN, BESIDE, STATE = "#0072b2", "#7cc4ec", "#d55e00"  # told apart with any kind of colour vision

# The sketch: S segments of L tokens, and the token that reads.
SEGMENTS, LENGTH, READER_SEGMENT, READER_SLOT = 7, 4, 3, 1
TOKEN, GAP, SEGMENT_GAP, LEFT = 26, 3, 16, 36
STATE_Y, TOKEN_Y, RADIUS = 156, 230, 11

# The areas: one token is one pixel.
TOKENS, SEGMENT = 256, 16
AREA_Y, FULL_X, SMI_X = 378, 62, 372

LANGUAGES: dict[str, dict[str, str]] = {
    "en": {
        "title": "What one token reads",
        "reader": "this token",
        "own": "its own segment",
        "beside": "the segments beside it",
        "states": "one state for each other segment",
        "unread": "not read",
        "full": "Full attention: N²",
        "smi": "SMI attention: N·(3L + S)",
        "keys": "tokens that are read",
        "queries": "tokens that read",
        "columns": "S states",
        "letters": "N tokens, S segments of L",
        "scale": "area = attention scores",
        "widths": "122 166 218 296",
        "numbers": "N = {n}, L = {l}",
        "scores": "{full} → {smi} scores",
        "share": "1/{share} of full attention",
    },
    "zh": {
        "title": "一个词元读取什么",
        "reader": "该词元",
        "own": "所在片段",
        "beside": "左右相邻片段",
        "states": "其余每个片段的一个状态",
        "unread": "不读取",
        "full": "全注意力：N²",
        "smi": "SMI 注意力：N·(3L + S)",
        "keys": "被读取的词元",
        "queries": "读取方词元",
        "columns": "S 个状态",
        "letters": "N 个词元，S 个片段，片段长 L",
        "scale": "面积 = 注意力分数的个数",
        "widths": "112 128 160 232",
        "numbers": "N = {n}，L = {l}",
        "scores": "{full} → {smi}",
        "share": "为全注意力的 1/{share}",
    },
}


def draw(language: str) -> str:
    """Return the picture as SVG.

    Args:
        language: a key of `LANGUAGES`.
    """
    words = LANGUAGES[language]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="16" role="img" lang="{language}">',
        f"<title>{escape(words['title'])}</title>",
        _box(0, 0, WIDTH, HEIGHT, PAPER, radius=10),
        *_sketch(words),
        *_areas(words),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _sketch(words: dict[str, str]) -> list[str]:
    """Draw the tokens, their states, and what reaches one of the tokens."""
    width = LENGTH * TOKEN + (LENGTH - 1) * GAP
    starts = [LEFT + i * (width + SEGMENT_GAP) for i in range(SEGMENTS)]
    reader = starts[READER_SEGMENT] + READER_SLOT * (TOKEN + GAP) + TOKEN / 2
    bottom = TOKEN_Y + TOKEN
    shapes, arcs = [], []
    for i, start in enumerate(starts):
        centre, distance = start + width / 2, abs(i - READER_SEGMENT)
        shapes.append(
            f'<path d="M{start} {TOKEN_Y - 4} L{centre - 5} {STATE_Y} H{centre + 5} L{start + width} {TOKEN_Y - 4} Z" '
            f'fill="{PALE}" opacity="0.5"/>'
        )
        shapes.append(_circle(centre, STATE_Y, RADIUS, STATE if distance else PALE))
        if distance:
            arcs.append(_curve(centre, STATE_Y - RADIUS - 3, reader, TOKEN_Y - 10, 96 - 10 * distance, STATE))
        for slot in range(LENGTH):
            x = start + slot * (TOKEN + GAP)
            middle = x + TOKEN / 2
            shapes.append(_box(x, TOKEN_Y, TOKEN, TOKEN, (OWN, BESIDE)[distance] if distance <= 1 else PALE, radius=4))
            if distance <= 1 and middle != reader:
                depth = bottom + 20 + abs(middle - reader) * 0.28
                arcs.append(_curve(middle, bottom + 3, reader, bottom + 10, depth, (OWN, "#4ba3d3")[distance]))
    return [
        _text(LEFT, 38, words["title"], size=19, weight="bold"),
        *_legend(words),
        *shapes,
        *arcs,
        _box(reader - TOKEN / 2, TOKEN_Y, TOKEN, TOKEN, INK, radius=4),
        f'<path d="M{reader} {TOKEN_Y - 2} l-5 -10 h10 Z" fill="{STATE}"/>',
        f'<path d="M{reader} {bottom + 2} l-5 10 h10 Z" fill="{OWN}"/>',
    ]


def _legend(words: dict[str, str]) -> list[str]:
    """Name the colours."""
    x, y, parts = LEFT, 72, []
    colours = {"reader": INK, "own": OWN, "beside": BESIDE, "states": STATE, "unread": PALE}
    for (name, colour), width in zip(colours.items(), [*map(int, words["widths"].split()), 0], strict=True):
        parts.append(
            _circle(x + 8, y - 5, 8, colour) if name == "states" else _box(x, y - 13, 16, 16, colour, radius=3)
        )
        parts.append(_text(x + 23, y, words[name], size=15))
        x += width
    return parts


def _areas(words: dict[str, str]) -> list[str]:
    """Draw the scores of full attention beside those of SMI attention, to scale."""
    segments = TOKENS // SEGMENT
    strip = SMI_X + TOKENS + 12
    foot, side = AREA_Y + TOKENS, strip + segments + 40
    parts = [
        f'<path d="M{LEFT} 322 H{WIDTH - LEFT}" stroke="{PALE}" stroke-width="2"/>',
        _text(FULL_X, AREA_Y - 16, words["full"], size=17, weight="bold"),
        _text(SMI_X, AREA_Y - 16, words["smi"], size=17, weight="bold"),
        _box(FULL_X, AREA_Y, TOKENS, TOKENS, "#9aa5b1"),
        _box(SMI_X, AREA_Y, TOKENS, TOKENS, "#f3f5f7"),
        _box(strip, AREA_Y, segments, TOKENS, STATE),
        _text(strip + segments / 2, foot + 22, words["columns"], STATE, anchor="middle", size=14),
    ]
    for i in range(segments):
        for j in range(max(i - 1, 0), min(i + 2, segments)):
            colour = OWN if i == j else BESIDE
            parts.append(_box(SMI_X + j * SEGMENT, AREA_Y + i * SEGMENT, SEGMENT, SEGMENT, colour))
    middle = AREA_Y + TOKENS / 2
    for x in (FULL_X, SMI_X):
        turned = f'transform="rotate(-90 {x - 10} {middle:g})"'
        parts.append(_text(x + TOKENS / 2, foot + 22, words["keys"], MUTED, anchor="middle", size=14))
        parts.append(_text(x - 10, middle, words["queries"], MUTED, anchor="middle", size=14, extra=turned))
    parts.append(_text(side, AREA_Y + 14, words["letters"], MUTED, size=14))
    parts.append(_text(side, AREA_Y + 38, words["scale"], MUTED, size=14))
    for y, tokens, length in ((AREA_Y + 94, TOKENS, SEGMENT), (AREA_Y + 186, 4096, 64)):
        full, smi = tokens**2, tokens * (3 * length + tokens // length)
        parts += [
            _text(side, y, words["numbers"].format(n=f"{tokens:,}", l=length), weight="bold", size=15),
            _text(side, y + 24, words["scores"].format(full=f"{full:,}", smi=f"{smi:,}"), MUTED, size=13),
            _text(side, y + 46, words["share"].format(share=full // smi), MUTED, size=13),
        ]
    return parts


def _box(x: float, y: float, width: float, height: float, fill: str, radius: float = 0) -> str:
    rounded = f' rx="{radius}"' if radius else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{rounded} fill="{fill}"/>'


def _circle(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}"/>'


def _curve(x: float, y: float, to_x: float, to_y: float, bend: float, colour: str) -> str:
    """Draw an arc that leaves and arrives vertically."""
    return (
        f'<path d="M{x:g} {y:g} C{x:g} {bend:g} {to_x:g} {bend:g} {to_x:g} {to_y:g}" fill="none" stroke="{colour}" '
        'stroke-width="1.8"/>'
    )


def _text(
    x: float,
    y: float,
    words: str,
    fill: str = INK,
    *,
    size: int = 16,
    anchor: str = "start",
    weight: str = "normal",
    extra: str = "",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}" '
        f"{extra}>{escape(words)}</text>"
    )


if __name__ == "__main__":
    here = Path(__file__).parent
    for name in LANGUAGES:
        suffix = "" if name == "en" else f".{name}"
        (here / f"smi-attention{suffix}.svg").write_text(draw(name), encoding="utf-8")
