// The map: the pyramid over the segments as an icicle, the root on top, a rectangle a cell.

import { get, address } from "/static/api.js";
import { $, make } from "/static/dom.js";
import { number, t } from "/static/words.js";

const SVG = "http://www.w3.org/2000/svg";

export class MapView {
  // `chosen` is called with the begin of a cell that is clicked, `label` gives the line of a position.
  constructor(root, chosen) {
    this.root = root;
    this.chosen = chosen;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("tabindex", "0");
    this.svg.setAttribute("role", "application");
    this.view = make("div", { class: "view" }); // beside the drawing, which is not painted again when the text moves
    root.append(this.svg, this.view);
    this.svg.addEventListener("pointermove", (event) => this.hover(event.target.cell));
    this.svg.addEventListener("pointerleave", () => this.hover(null));
    this.svg.addEventListener("click", (event) => event.target.cell && this.choose(event.target.cell));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.clear();
  }

  clear() {
    this.levels = [];
    this.spans = [];
    this.id = null;
    this.current = null;
    this.svg.replaceChildren();
    this.view.style.width = "0";
    $("map-about").textContent = $("cell-line").textContent = "";
  }

  show(id, data) {
    const { spans } = this; // a summary may be there before the map is
    this.clear();
    this.id = id;
    this.segments = data.segments;
    this.end = data.end;
    const rows = data.levels.length;
    this.svg.setAttribute("viewBox", `0 0 ${data.segments} ${rows}`);
    const pixels = this.root.clientWidth || 320;
    const fragment = document.createDocumentFragment();
    this.levels = data.levels.map((level, row) => level.begins.map((begin, index) => {
      const first = index * 2 ** level.height, last = Math.min(first + 2 ** level.height, data.segments);
      const element = document.createElementNS(SVG, "rect");
      for (const [name, value] of [["x", first], ["y", row], ["width", last - first], ["height", 1]]) element.setAttribute(name, value);
      const cell = { row, index, first, last, begin, end: level.begins[index + 1] ?? data.end, element };
      const width = (pixels * (last - first)) / data.segments;
      if (width < 6) element.setAttribute("class", width < 3 ? "hair" : "narrow");
      element.cell = cell;
      fragment.append(element);
      return cell;
    }));
    this.svg.append(fragment);
    this.describe();
    this.weigh(spans);
  }

  describe() {
    if (!this.levels.length) return;
    const each = this.levels.at(-1)[0].last;
    const size = each === 1 || this.segments === 1 ? t("one_segment") : t("many_segments", number(each));
    $("map-about").textContent = t("map_hint", number(this.segments), size);
    this.svg.setAttribute("aria-label", t("map_label"));
  }

  // Colours cells by the weight of what was read in them: spans are [begin, end, weight], each level apart.
  weigh(spans) {
    this.spans = spans;
    for (const level of this.levels) {
      const sums = level.map((cell) => {
        let sum = 0;
        for (const [begin, end, weight] of spans) {
          const shared = Math.min(end, cell.end) - Math.max(begin, cell.begin);
          if (shared > 0) sum += weight * shared / Math.max(1, end - begin);
        }
        return sum;
      });
      const most = Math.max(...sums, 1e-9);
      level.forEach((cell, index) => {
        const share = sums[index] > 1e-4 ? 20 + 80 * sums[index] / most : 0;
        cell.element.style.setProperty("--weight", `${share.toFixed(0)}%`);
        cell.element.classList.toggle("read", share > 0);
      });
    }
  }

  // Shows how far a document is read: cells behind are empty.
  progress(share) {
    for (const cell of this.levels.at(-1) ?? []) cell.element.classList.toggle("unread", cell.first >= share * this.segments);
  }

  // Shows which part of the text is in view.
  locate(begin, end) {
    if (!this.levels.length) return;
    const x = this.segmentAt(begin), width = Math.max(this.segmentAt(end) - x, this.segments / 300);
    this.view.style.left = `${((100 * x) / this.segments).toFixed(2)}%`;
    this.view.style.width = `${((100 * width) / this.segments).toFixed(2)}%`;
  }

  segmentAt(position) {
    const level = this.levels.at(-1);
    let low = 0, high = level.length;
    while (low + 1 < high) {
      const middle = (low + high) >> 1;
      if (level[middle].begin <= position) low = middle; else high = middle;
    }
    const cell = level[low];
    return cell.first + (cell.last - cell.first) * Math.min(1, (position - cell.begin) / Math.max(1, cell.end - cell.begin));
  }

  hover(cell) {
    if (cell === this.current || cell === undefined) return;
    this.current?.element.classList.remove("current");
    this.current = cell;
    clearTimeout(this.timer);
    if (!cell) return;
    cell.element.classList.add("current");
    const count = cell.last - cell.first;
    const name = count === 1 ? t("cell_one", number(cell.first + 1)) : t("cell", number(cell.first + 1), number(cell.last));
    $("cell-line").textContent = `${name}: …`;
    const { id } = this;
    this.timer = setTimeout(async () => {
      try {
        const { sentences } = await get(address(id, `/line?begin=${cell.begin}&end=${cell.end}`));
        const line = sentences.map((one) => one.text).join(" ");
        if (this.current === cell && this.id === id) $("cell-line").textContent = `${name}: ${line || "–"}`;
      } catch { /* the next hover asks again */ }
    }, 60);
  }

  choose(cell) {
    this.hover(cell);
    this.chosen(cell.begin, cell.end);
  }

  key(event) {
    if (!this.levels.length) return;
    const { row, index } = this.current ?? { row: 0, index: 0 };
    const move = {
      ArrowLeft: [row, index - 1], ArrowRight: [row, index + 1], ArrowUp: [row - 1, index >> 1], ArrowDown: [row + 1, index * 2],
      Home: [row, 0], End: [row, this.levels[row].length - 1],
    }[event.key];
    if (event.key === "Enter" || event.key === " ") this.choose(this.current ?? this.levels[0][0]);
    else if (move) this.hover(this.levels[move[0]]?.[Math.min(move[1], (this.levels[move[0]]?.length ?? 1) - 1)] ?? this.current ?? this.levels[0][0]);
    else return;
    event.preventDefault();
  }
}
