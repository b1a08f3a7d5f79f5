"""The graph of a method as a drawing: SVG, placed here, so that it shows without a script."""

from __future__ import annotations

from html import escape

from executorch_coreml.report.facts import DELEGATE, OUTSIDE, Block, Method
from executorch_coreml.report.graph import ranks

_WIDTH, _HEIGHT, _GAP, _STEP, _EDGE = 290, 54, 36, 96, 20
_LETTERS = 44  # of the smaller line that fit into a box


def drawing(method: Method, first: int) -> str:
    """The blocks of a method as an SVG element.

    Args:
        method: The method.
        first: The number that its first block has among the blocks of all methods.
    """
    found = ranks(method.blocks)
    levels: dict[int, list[Block]] = {}
    for block in method.blocks:
        levels.setdefault(found[block.id], []).append(block)
    widest = max(len(level) for level in levels.values())
    width = widest * (_WIDTH + _GAP) - _GAP + 2 * _EDGE
    height = len(levels) * _STEP - (_STEP - _HEIGHT) + 2 * _EDGE
    places: dict[int, tuple[float, float]] = {}
    for row, rank in enumerate(sorted(levels)):
        level = levels[rank]
        left = (width - len(level) * (_WIDTH + _GAP) + _GAP) / 2
        for column, block in enumerate(level):
            places[block.id] = (left + column * (_WIDTH + _GAP), _EDGE + row * _STEP)
    lines = [
        _edge(places[source], places[block.id], count, method.exact)
        for block in method.blocks
        for source, count in block.reads.items()
    ]
    boxes = [_box(block, *places[block.id], first + block.id) for block in method.blocks]
    label = escape(f"graph of {method.name}: {len(method.blocks) - 2} blocks")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="group" aria-label="{label}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{''.join(lines)}{''.join(boxes)}</svg>"
    )


def _edge(start: tuple[float, float], end: tuple[float, float], count: int, exact: bool) -> str:
    x, y = start[0] + _WIDTH / 2, start[1] + _HEIGHT
    to, below = end[0] + _WIDTH / 2, end[1]
    bend = (below - y) / 2
    if below - y > _STEP and x == to:  # around the boxes in between
        side = x + _WIDTH / 2 + _GAP / 2
        path = f"M{x:g} {y:g} C{side:g} {y + 20:g} {side:g} {below - 20:g} {to:g} {below:g}"
    else:
        path = f"M{x:g} {y:g} C{x:g} {y + bend:g} {to:g} {below - bend:g} {to:g} {below:g}"
    what = f"{count} value{'s' if count != 1 else ''}" if exact else "in this order"
    kind = "" if exact else ' class="assumed"'
    return f'<path{kind} d="{path}" marker-end="url(#arrow)"><title>{what}</title></path>'


def _box(block: Block, x: float, y: float, number: int) -> str:
    opens = block.kind in (DELEGATE, OUTSIDE)
    can = f' tabindex="0" role="button" data-block="{number}"' if opens else ""
    name = escape(f"{block.title}: {block.detail}" if block.detail else block.title)
    middle = x + _WIDTH / 2
    shown = block.detail
    if len(shown) > _LETTERS:
        shown = shown[: _LETTERS - 1] + "…"
    title_at = y + (23 if shown else 32)
    detail = f'<text class="sub" x="{middle:g}" y="{y + 41:g}">{escape(shown)}</text>'
    return (
        f'<g class="box {block.kind}"{can} aria-label="{name}"><title>{name}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="9"/>'
        f'<text x="{middle:g}" y="{title_at:g}" font-weight="600">{escape(block.title)}</text>'
        f"{detail if shown else ''}</g>"
    )
