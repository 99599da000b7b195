// Cuts a text into blocks, paragraphs of bounded length, in slices of time, so that a million tokens block nothing.

import { breathe } from "/static/dom.js";

const LONGEST = 2400;
const SLICE = 8; // milliseconds

// Whether the lines of a paragraph are one flowing text that was cut at a width.
function flows(lines) {
  if (lines.length < 2) return false;
  const longest = Math.max(...lines.map((line) => line.length));
  if (longest < 45 || longest > 110) return false;
  const inside = lines.slice(1).filter((line) => !/^[a-z\u00df-\u00ff\u3000-\u9fff]/.test(line)).length;
  if (inside > 0.7 * (lines.length - 1)) return false; // entries of a log begin alike, the lines of a sentence do not
  return lines.every((line, index) => /^\S/.test(line) && !/^(?:[-*•|>#]|\d+[.)]\s)/.test(line) && !/\S\s{3,}\S/.test(line)
    && (index === lines.length - 1 || line.length > longest * 0.6));
}

// Returns where the next block ends: at a blank line, or at a line or a space where it is too long.
function endOf(text, begin) {
  let end = text.indexOf("\n\n", begin);
  if (end < 0) end = text.length;
  if (end - begin > LONGEST) {
    let cut = text.lastIndexOf("\n", begin + LONGEST);
    if (cut <= begin) cut = text.lastIndexOf(" ", begin + LONGEST);
    if (cut <= begin) {
      cut = begin + LONGEST;
      const code = text.charCodeAt(cut);
      if (code >= 0xdc00 && code < 0xe000) cut -= 1; // never between the halves of a character
    }
    return cut;
  }
  return end;
}

export class Blocks {
  constructor(text) {
    this.text = text;
    this.begins = [];
    this.ends = [];
    this.flow = [];
    this.lines = []; // lengths of the lines, for estimates
  }

  get length() { return this.begins.length; }

  // Cuts until the end; calls `report` after each slice; stops when `gone` says so.
  async cut(report, gone) {
    const { text } = this;
    let begin = 0;
    while (begin < text.length) {
      const until = performance.now() + SLICE;
      while (begin < text.length && performance.now() < until) {
        while (text[begin] === "\n") begin += 1;
        if (begin >= text.length) break;
        const end = endOf(text, begin);
        const lines = text.slice(begin, end).split("\n");
        this.begins.push(begin);
        this.ends.push(end);
        const flow = flows(lines);
        this.flow.push(flow);
        this.lines.push(flow ? [end - begin] : lines.map((line) => line.length));
        begin = end + (text[end] === "\n" || text[end] === " " ? 1 : 0);
      }
      report(begin >= text.length);
      await breathe();
      if (gone()) return;
    }
    if (!text.length) report(true);
  }

  // The block that holds a position, or the one before it.
  at(position) {
    let low = 0, high = this.begins.length;
    while (low + 1 < high) {
      const middle = (low + high) >> 1;
      if (this.begins[middle] <= position) low = middle; else high = middle;
    }
    return low;
  }
}

// Heights of blocks with sums in logarithmic time: a Fenwick tree.
export class Heights {
  constructor(values) {
    this.values = values;
    this.tree = new Float64Array(values.length + 1);
    for (let i = 1; i <= values.length; i += 1) {
      this.tree[i] += values[i - 1];
      const next = i + (i & -i);
      if (next <= values.length) this.tree[next] += this.tree[i];
    }
  }

  set(index, value) {
    const change = value - this.values[index];
    if (Math.abs(change) < 0.5) return 0;
    this.values[index] = value;
    for (let i = index + 1; i < this.tree.length; i += i & -i) this.tree[i] += change;
    return change;
  }

  before(index) {
    let sum = 0;
    for (let i = index; i > 0; i -= i & -i) sum += this.tree[i];
    return sum;
  }

  get total() { return this.before(this.values.length); }

  // The block at a height.
  at(height) {
    let index = 0, left = height;
    for (let step = 2 ** Math.floor(Math.log2(Math.max(1, this.tree.length - 1))); step >= 1; step /= 2) {
      if (index + step < this.tree.length && this.tree[index + step] <= left) {
        index += step;
        left -= this.tree[index];
      }
    }
    return Math.min(index, Math.max(0, this.values.length - 1));
  }
}
