// The document pane: only the blocks in view are elements; marks are highlights, so each block stays one text node.

import { Blocks, Heights } from "/static/blocks.js";
import { make } from "/static/dom.js";

const OVER = 600; // pixels beyond the view that are there already
const GAP = 12; // under a block, as in the style sheet
const paints = globalThis.CSS && CSS.highlights;

export class TextView {
  // `scrolled` is called with the first and last position in view.
  constructor(root, scrolled) {
    this.root = root;
    this.scrolled = scrolled;
    this.sizer = make("div", { class: "sizer" });
    this.window = make("div", { class: "window" });
    this.sizer.append(this.window);
    root.append(this.sizer);
    this.marks = new Map(); // name: sorted spans
    this.clear();
    root.addEventListener("scroll", () => this.schedule(), { passive: true });
    new ResizeObserver(() => this.resize()).observe(root);
  }

  clear() {
    this.blocks = new Blocks("");
    this.heights = new Heights(new Float64Array(0));
    this.shown = new Map();
    this.titles = new Map();
    this.marks.clear();
    this.window.replaceChildren();
    this.sizer.style.height = "0";
    this.root.scrollTop = 0;
  }

  get text() { return this.blocks.text; }

  // Shows a text; resolves when all of it is laid out.
  async open(text) {
    this.clear();
    const blocks = this.blocks = new Blocks(text);
    this.root.classList.toggle("fixed", (text.slice(0, 200000).match(/\S {3,}\S/g) ?? []).length > 40);
    let known = 0;
    await blocks.cut((last) => {
      if (blocks !== this.blocks) return;
      if (last || known === 0 || blocks.length > 2 * known) {
        known = blocks.length;
        this.estimate();
      }
    }, () => blocks !== this.blocks);
  }

  // Headings come later than the text: blocks that are one get its level.
  setHeadings(headings) {
    for (const one of headings) {
      const index = this.blocks.at(one.begin);
      const { begins, ends } = this.blocks;
      if (begins[index] >= one.begin - 4 && ends[index] <= one.end + 4) this.titles.set(index, Math.min(one.level, 4));
    }
    for (const [index, element] of this.shown) this.style(index, element);
    this.remeasure();
  }

  // Measures how many characters a line holds, and estimates the height of each block.
  estimate() {
    const probe = make("div", { class: "block" }, "The quick brown fox jumps over the lazy dog, 0123456789. ".repeat(4));
    probe.style.position = "absolute";
    probe.style.whiteSpace = "nowrap";
    probe.style.visibility = "hidden";
    this.window.append(probe);
    const width = probe.offsetWidth / probe.textContent.length, line = probe.offsetHeight;
    probe.remove();
    const wide = /[\u3000-\u9fff]/.test(this.text.slice(0, 2000)) ? 1.9 : 1;
    const columns = Math.max(8, (this.window.clientWidth || this.root.clientWidth) / (width * wide));
    const heights = new Float64Array(this.blocks.length);
    for (let i = 0; i < heights.length; i += 1) {
      let lines = 0;
      for (const length of this.blocks.lines[i]) lines += Math.max(1, Math.ceil(length / columns));
      heights[i] = lines * line + GAP;
    }
    const anchor = this.anchor();
    this.heights = new Heights(heights);
    this.width = this.root.clientWidth;
    this.restore(anchor);
  }

  // Forgets the elements, so that each is measured again.
  remeasure() {
    this.window.replaceChildren();
    this.shown.clear();
    this.render();
  }

  resize() {
    if (!this.blocks.length || !this.root.clientWidth || this.width === this.root.clientWidth) return; // a hidden pane has no width
    this.estimate();
  }

  anchor() {
    if (!this.heights.values.length) return [0, 0];
    const index = this.heights.at(this.root.scrollTop);
    return [index, this.root.scrollTop - this.heights.before(index)];
  }

  restore([index, inside]) {
    this.sizer.style.height = `${this.heights.total}px`;
    this.root.scrollTop = this.heights.before(index) + inside;
    this.remeasure();
  }

  schedule() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.render(); });
  }

  render() {
    if (!this.heights.values.length || !this.root.clientHeight) return;
    let placed = false;
    for (let pass = 0; pass < 3; pass += 1) {
      const [anchor, inside] = this.anchor();
      const first = this.heights.at(Math.max(0, this.root.scrollTop - OVER));
      const last = this.heights.at(this.root.scrollTop + this.root.clientHeight + OVER);
      const fresh = this.place(first, last);
      placed = placed || fresh.length > 0;
      let changed = false;
      const measured = fresh.map((index) => [index, this.shown.get(index).offsetHeight + GAP]);
      for (const [index, height] of measured) changed = this.heights.set(index, height) !== 0 || changed;
      const top = `translateY(${this.heights.before(first)}px)`;
      if (this.window.style.transform !== top) this.window.style.transform = top;
      if (!changed) break;
      this.sizer.style.height = `${this.heights.total}px`;
      const wanted = this.heights.before(anchor) + inside;
      if (Math.abs(wanted - this.root.scrollTop) > 1) this.root.scrollTop = wanted;
    }
    if (placed) this.paint();
    this.scrolled(...this.view());
  }

  // Makes the elements of blocks `first` to `last`, removes all others, and returns which are new.
  place(first, last) {
    for (const [index, element] of this.shown) {
      if (index < first || index > last) {
        element.remove();
        this.shown.delete(index);
      }
    }
    const fresh = [];
    let next = this.window.firstElementChild;
    for (let index = first; index <= last; index += 1) {
      let element = this.shown.get(index);
      if (!element) {
        element = make("div", {}, this.text.slice(this.blocks.begins[index], this.blocks.ends[index]));
        element.block = index;
        this.style(index, element);
        this.shown.set(index, element);
        this.window.insertBefore(element, next);
        fresh.push(index);
      } else next = element.nextElementSibling;
    }
    return fresh;
  }

  style(index, element) {
    const level = this.titles.get(index);
    element.className = `block${this.blocks.flow[index] ? " flow" : ""}${level ? ` heading level-${level}` : ""}`;
  }

  // The first and last position in view.
  view() {
    const top = this.heights.at(this.root.scrollTop + 1), bottom = this.heights.at(this.root.scrollTop + this.root.clientHeight);
    return [this.blocks.begins[top], this.blocks.ends[bottom]];
  }

  // Scrolls to a position; a second look corrects what was an estimate.
  goTo(position) {
    const index = this.blocks.at(position);
    this.root.scrollTop = this.heights.before(index) - this.root.clientHeight / 4;
    this.render();
    const found = this.range(index, position, position + 1);
    if (found) {
      const off = found.getBoundingClientRect().top - this.root.getBoundingClientRect().top - this.root.clientHeight / 4;
      if (Math.abs(off) > 4) {
        this.root.scrollTop += off;
        this.render();
      }
    }
  }

  // Marks spans, which must be sorted and disjoint, under a name of the style sheet.
  mark(name, spans) {
    if (spans.length) this.marks.set(name, spans); else this.marks.delete(name);
    this.paint();
  }

  range(index, begin, end) {
    const node = this.shown.get(index)?.firstChild;
    if (!node) return null;
    const range = document.createRange(), from = this.blocks.begins[index];
    range.setStart(node, Math.min(Math.max(begin - from, 0), node.length));
    range.setEnd(node, Math.min(Math.max(end - from, 0), node.length));
    return range;
  }

  paint() {
    if (!paints) return;
    for (const name of ["segment", "passage", "search", "target"]) {
      const spans = this.marks.get(name), ranges = [];
      if (spans) {
        for (const index of this.shown.keys()) {
          const begin = this.blocks.begins[index], end = this.blocks.ends[index];
          for (let i = firstEnding(spans, begin); i < spans.length && spans[i][0] < end; i += 1) {
            ranges.push(this.range(index, Math.max(spans[i][0], begin), Math.min(spans[i][1], end)));
          }
        }
      }
      paints.set(name, new Highlight(...ranges));
    }
  }

  // The selected span of the text; null for none.
  selected() {
    const selection = document.getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return null;
    const range = selection.getRangeAt(0);
    if (!this.window.contains(range.commonAncestorContainer)) return null;
    const at = (node, offset) => {
      const element = (node.nodeType === Node.TEXT_NODE ? node.parentElement : node.childNodes[offset] ?? node.lastElementChild);
      if (element?.block === undefined) return null;
      return this.blocks.begins[element.block] + (node.nodeType === Node.TEXT_NODE ? offset : 0);
    };
    const begin = at(range.startContainer, range.startOffset), end = at(range.endContainer, range.endOffset);
    return begin === null || end === null || end <= begin ? null : { begin, end, box: range.getBoundingClientRect() };
  }
}

// The first span that ends behind a position.
function firstEnding(spans, position) {
  let low = 0, high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle][1] > position) high = middle; else low = middle + 1;
  }
  return low;
}
