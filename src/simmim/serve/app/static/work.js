// The work pane: summary, questions, translation and history of the open document.

import { Failure, address, get, job } from "/static/api.js";
import { $, make, marked } from "/static/dom.js";
import { duration, number, t } from "/static/words.js";

const TABS = ["summary", "ask", "translate", "history"];
const TARGETS = ["en", "zh", "fr", "de", "es", "it", "pt", "nl", "pl", "ru", "uk", "ar", "hi", "ja", "ko", "tr", "vi"];

export const whereOf = (one) => one.page === null || one.page === undefined ? t("line", number(one.line)) : t("page", number(one.page));

// A passage from the sentence on that shares most words with the question.
function excerpt(text, words) {
  const asked = words.map((word) => word.toLowerCase().slice(0, 5)).filter((word) => word.length > 3 || /[^\x00-\x7f]/.test(word));
  let best = 0, most = 0, begin = 0;
  for (const sentence of text.match(/[^.!?。！？\n]+(?:[.!?。！？]+["”’)]*\s*|\n+|$)/g) ?? []) {
    const lower = sentence.toLowerCase(), shared = asked.filter((word) => lower.includes(word)).length;
    if (shared > most) { most = shared; best = begin; }
    begin += sentence.length;
  }
  best = Math.min(best, Math.max(0, text.length - 200));
  return `${best ? "… " : ""}${text.slice(best, best + 320).trim()}${best + 320 < text.length ? " …" : ""}`;
}

export class WorkView {
  // `app` has `entry()`, `show(begin, end)`, `weigh(spans)`, `notify(message)` and `about`.
  constructor(app) {
    this.app = app;
    this.running = {};
    for (const name of TABS) {
      const tab = $(`tab-${name}`);
      tab.addEventListener("click", () => this.select(name));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) this.select(TABS[(TABS.indexOf(name) + step + TABS.length) % TABS.length], true);
      });
    }
    for (const one of document.querySelectorAll("[name=length]")) one.addEventListener("change", () => this.summarize());
    $("part").querySelector("button").addEventListener("click", () => { this.part = null; this.summarize(); });
    $("question-form").addEventListener("submit", (event) => { event.preventDefault(); this.ask(); });
    $("question").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.ask(); }
    });
    $("translation-form").addEventListener("submit", (event) => { event.preventDefault(); this.translate(null); });
    $("target").addEventListener("change", () => this.kept());
    $("panel-translate").addEventListener("scroll", () => this.follow(), { passive: true });
    $("no-translation").hidden = app.about.translates;
    $("translation-form").hidden = !app.about.translates;
    this.select("summary");
    this.name();
  }

  // What depends on the language.
  name() {
    const names = new Intl.DisplayNames([document.documentElement.lang], { type: "language" });
    const before = $("target").value || (document.documentElement.lang === "zh-CN" ? "zh" : "en");
    $("target").replaceChildren(...TARGETS.map((code) => make("option", { value: code }, names.of(code))));
    $("target").value = before;
    for (const box of $("answers").children) if (box.record) this.fill(box, box.record);
    this.history();
  }

  select(name, focus = false) {
    for (const one of TABS) {
      const chosen = one === name;
      $(`tab-${one}`).setAttribute("aria-selected", chosen);
      $(`tab-${one}`).tabIndex = chosen ? 0 : -1;
      $(`panel-${one}`).hidden = !chosen;
    }
    if (focus) $(`tab-${name}`).focus();
    if (name === "history") this.history();
  }

  // Another document is open; `ready` says whether it is read to its end.
  open(ready) {
    for (const controller of Object.values(this.running)) controller.abort();
    this.running = {};
    this.part = null;
    for (const id of ["summary", "answers", "translation", "past"]) $(id).replaceChildren();
    $("part").hidden = true;
    const entry = this.app.entry();
    $("question").disabled = entry?.status !== "ready";
    $("question").placeholder = !entry || entry.status === "ready" ? "" : t("not_yet");
    for (const [id, form] of [["as-markdown", "md"], ["as-docx", "docx"], ["as-json", "json"]]) {
      if (entry) $(id).href = address(entry.id, `/download?form=${form}`); else $(id).removeAttribute("href");
    }
    if (!entry || !ready) {
      $("summary").append(make("p", { class: "hint" }, t(entry ? "not_yet" : "nothing")));
      return;
    }
    this.summarize();
    this.history();
    if (this.app.about.translates) this.kept();
  }

  // Runs a job of a kind; a new one stops the one before it. Errors are shown in `box`.
  async run(kind, path, body, box, take) {
    this.running[kind]?.abort();
    const controller = this.running[kind] = new AbortController();
    try {
      for await (const [name, content] of job(path, body, controller.signal)) {
        if (controller.signal.aborted) return;
        take(name, content);
      }
    } catch (error) {
      if (controller.signal.aborted) return;
      const message = error instanceof Failure ? (error.stopped ? t("stopped") : error.message) : t("lost");
      box.append(make("p", { class: "failure", role: "status" }, message));
    } finally {
      if (this.running[kind] === controller) delete this.running[kind];
    }
  }

  link(one, ...children) {
    const spans = [[one.begin, one.end, 1]];
    return make("button", {
      type: "button", class: "link", title: t("show"),
      on: {
        click: () => this.app.show(one.begin, one.end), focus: () => this.app.weigh(spans), pointerenter: () => this.app.weigh(spans),
      },
    }, ...children);
  }

  async summarize() {
    const entry = this.app.entry(), box = $("summary");
    if (!entry || !/ready|foreign/.test(entry.status)) return;
    box.replaceChildren(make("p", { class: "hint busy" }, t("loading")));
    $("part").hidden = !this.part;
    if (this.part) $("part").firstElementChild.textContent = t("part", number(this.part.end - this.part.begin));
    const length = document.querySelector("[name=length]:checked").value;
    await this.run("summary", address(entry.id, "/summary"), { length, ...this.part }, box, (name, content) => {
      if (name !== "done") return;
      const { sentences } = content;
      const spans = sentences.map((one) => [one.begin, one.end, 1 / sentences.length]);
      this.app.weigh(spans);
      const items = [];
      let over = null;
      for (const one of sentences) {
        const heading = one.headings.at(-1);
        if (content.length === "page" && heading && heading !== over) items.push(make("h3", {}, heading));
        over = heading;
        items.push(make("p", { class: "sentence" }, this.link(one, one.text), " ", make("small", { class: "hint" }, whereOf(one))));
      }
      box.replaceChildren(make("div", { class: content.length, on: { pointerleave: () => this.app.weigh(spans) } }, ...items),
        make("p", { class: "hint" }, t("from_to", number(content.of))));
    });
    box.querySelector(".busy")?.remove();
  }

  async ask() {
    const entry = this.app.entry(), question = $("question").value.trim();
    if (!entry || !question || $("question").disabled) return;
    const box = make("article", { class: "answer" }, make("h3", {}, question));
    const text = make("p", { class: "reply", "aria-live": "polite", "aria-busy": "true" });
    box.append(text);
    $("answers").prepend(box);
    $("question").value = "";
    await this.run("ask", address(entry.id, "/ask"), { question }, box, (name, content) => {
      if (name === "piece") text.append(content.text);
      if (name === "done") this.fill(box, content);
    });
    text.setAttribute("aria-busy", "false");
  }

  // Shows a whole answer with its passages.
  fill(box, record) {
    box.record = record;
    const own = this.app.entry()?.id;
    const passages = [...record.passages].sort((one, other) => other.weight - one.weight);
    const spans = passages.filter((one) => one.id === own).map((one) => [one.begin, one.end, one.weight]);
    const weigh = () => this.app.weigh(spans);
    const words = record.question.match(/[\p{L}\p{N}]+/gu) ?? [];
    box.replaceChildren(
      make("h3", {}, record.question),
      make("p", { class: "reply", on: { pointerenter: weigh } }, record.text),
      make("h4", {}, t("passages")),
      ...passages.map((one) => {
        const name = one.id === own ? whereOf(one) : `${one.document}, ${whereOf(one)}`;
        const head = one.id === own ? this.link(one, name) : make("span", {}, name);
        return make("div", { class: "passage" }, make("p", {}, head, " ", make("small", { class: "hint" }, `${Math.round(one.weight * 100)} %`)),
          make("details", {}, make("summary", {},
            make("span", { class: "short" }, ...marked(excerpt(one.text, words), words)), make("span", { class: "whole" }, ...marked(one.text, words)))));
      }),
      make("p", { class: "hint" }, t("read_for", number(record.read_tokens), record.first_token_seconds.toFixed(1), record.seconds.toFixed(1))),
    );
    box.addEventListener("pointerleave", weigh);
    weigh();
    this.app.passages(spans);
  }

  async history() {
    const entry = this.app.entry();
    if (!entry) return;
    try {
      const { history } = await get(address(entry.id, "/history"));
      if (this.app.entry()?.id !== entry.id) return;
      const shown = history.filter((one) => one.kind === "ask").reverse();
      $("past").replaceChildren(...shown.map((record) => {
        const box = make("article", { class: "answer" }), date = new Date(record.time * 1000).toLocaleString(document.documentElement.lang);
        const open = make("button", { type: "button", class: "link", on: { click: () => { this.fill(box, record); box.append(make("p", { class: "hint" }, date)); } } }, record.question);
        box.append(make("h3", {}, open), make("p", { class: "reply" }, record.text), make("p", { class: "hint" }, date));
        return box;
      }), shown.length ? "" : make("p", { class: "hint" }, t("no_history")));
    } catch (error) {
      this.app.notify(error.message);
    }
  }

  row(one) {
    const cells = [make("p", {}, one.source), make("p", {}, one.text)];
    if (one.faults.length) cells[1].append(make("small", { class: "failure" }, t("faults", one.faults.join("; "))));
    const row = make("button", { type: "button", class: "block-pair", title: t("show"), on: {
      click: () => this.app.show(one.begin, one.end), pointerenter: () => this.app.weigh([[one.begin, one.end, 1]]),
    } }, ...cells);
    row.begin = one.begin;
    return row;
  }

  downloads(entry, target) {
    const links = ["docx", "tmx"].map((form) => make("a", { href: address(entry.id, `/download?form=${form}&to=${target}`), download: true }, form.toUpperCase()));
    return make("p", { class: "downloads" }, links[0], " ", links[1]);
  }

  // Shows a translation that was made before.
  async kept() {
    const entry = this.app.entry(), target = $("target").value;
    $("translation").replaceChildren();
    if (!entry) return;
    try {
      const found = await get(address(entry.id, `/translation?to=${target}`));
      if (this.app.entry()?.id !== entry.id || $("target").value !== target) return;
      $("translation").replaceChildren(...found.blocks.map((one) => this.row(one)), this.downloads(entry, target));
    } catch { /* there is none */ }
  }

  async translate(part) {
    const entry = this.app.entry(), box = $("translation"), target = $("target").value;
    if (!entry || !this.app.about.translates) return;
    const counter = make("p", { class: "hint", role: "status" }, t("loading")), rows = make("div", {});
    box.replaceChildren(counter, rows);
    const began = performance.now();
    await this.run("translate", address(entry.id, "/translate"), { to: target, ...part }, box, (name, content) => {
      if (name === "piece") {
        rows.append(...content.blocks.map((one) => this.row(one)));
        counter.textContent = t("translated", number(rows.children.length), number(content.of));
      }
      if (name === "done") {
        counter.append(` · ${duration((performance.now() - began) / 1000)}`);
        if (!part) box.append(this.downloads(entry, target));
      }
    });
  }

  // Scrolls the text to the first row in view.
  follow() {
    if (!$("linked").checked || this.following) return;
    this.following = setTimeout(() => {
      this.following = 0;
      const top = $("panel-translate").getBoundingClientRect().top + 60;
      const row = [...$("translation").querySelectorAll(".block-pair")].find((one) => one.getBoundingClientRect().bottom > top);
      if (row) this.app.scroll(row.begin);
    }, 100);
  }

  // What the selection offers.
  selection(kind, span, text) {
    this.select(kind);
    if (kind === "summary") { this.part = span; this.summarize(); }
    if (kind === "ask") {
      $("question").value = `“${text.slice(0, 500).replace(/\s+/g, " ").trim()}” `;
      $("question").focus();
    }
    if (kind === "translate" && this.app.about.translates) this.translate(span);
  }
}
