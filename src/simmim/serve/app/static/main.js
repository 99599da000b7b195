// Puts the page together: events of the server, the open document, search, and what the panes say to each other.

import { Failure, address, get, text as fetchText } from "/static/api.js";
import { $, breathe, make } from "/static/dom.js";
import { LibraryView } from "/static/library.js";
import { MapView } from "/static/map.js";
import { forgetQueue, showFigures, showQueue } from "/static/status.js";
import { TextView } from "/static/text.js";
import { WorkView } from "/static/work.js";
import { apply, keep, language, number, read, setLanguage, t } from "/static/words.js";

const MOST_MATCHES = 10000;
let state = { documents: [], jobs: [], memory: null };
let current = null; // id of the open document
let detail = null; // its headings and pages
let opened = ""; // what of it is shown: its id and status
let matches = [], match = -1;

const about = await get("/api/about");
document.querySelector("[data-i18n=formats]").dataset.value = about.upload_bytes / 2 ** 20;
setTheme(read("theme"));
apply();

const view = new TextView($("text"), inView);
const map = new MapView($("cells"), (begin, end) => show(begin, end));
const library = new LibraryView(about, choose, notify);
const app = { about, entry, show, weigh: (spans) => map.weigh(spans), notify, passages: (spans) => mark("passage", spans), scroll: (begin) => view.goTo(begin) };
const work = new WorkView(app);

function entry() { return state.documents.find((one) => one.id === current) ?? null; }

function notify(message) {
  $("notice").hidden = !message;
  $("notice").firstElementChild.textContent = message;
}

function mark(name, spans) {
  view.mark(name, spans.map(([begin, end]) => [begin, end]).sort((one, other) => one[0] - other[0]));
}

function show(begin, end) {
  pane("document");
  view.goTo(begin);
  mark("target", [[begin, end]]);
}

function pane(name) {
  document.body.dataset.pane = name;
  for (const one of document.querySelectorAll(".panes button")) one.setAttribute("aria-pressed", one.dataset.pane === name);
  view.resize();
}

function inView(begin, end) {
  if (begin === inView.begin && end === inView.end) return;
  Object.assign(inView, { begin, end });
  map.locate(begin, end);
  if (!detail?.pages) { $("where").textContent = ""; return; }
  const share = Math.round((100 * begin) / Math.max(1, view.text.length));
  const page = detail.pages.filter((one) => one <= begin).length;
  $("where").textContent = page ? t("page_of", number(page), number(detail.pages.length)) : t("line_of", number(share));
}

function choose(id) {
  current = id;
  keep("document", id);
  refresh();
  if (document.body.dataset.pane === "library") pane("document");
}

// Shows the state of the server, and opens the document that is chosen, once there is something of it to open.
function refresh() {
  if (!entry() && state.documents.length) {
    const kept = state.documents.find((one) => one.id === read("document"));
    current = (kept ?? state.documents[0]).id;
  }
  const chosen = entry();
  library.show(state, current);
  showQueue(state.jobs);
  showFigures(about, state, chosen);
  $("title").textContent = chosen?.name ?? "";
  document.title = chosen ? `${chosen.name} – SimMIM` : "SimMIM";
  document.body.classList.toggle("empty", !chosen);
  const now = chosen ? `${chosen.id} ${chosen.text} ${chosen.status === "ready" || chosen.status === "foreign"}` : "";
  if (now !== opened) { opened = now; open(chosen); }
  if (chosen?.tokens) map.progress(chosen.read / chosen.tokens);
}

async function open(chosen) {
  const same = () => current === chosen?.id;
  const ready = chosen && (chosen.status === "ready" || chosen.status === "foreign");
  if (view.id !== chosen?.id) {
    view.clear();
    map.clear();
    view.id = detail = null;
    matches = [];
    $("matches").textContent = "";
    $("headings").replaceChildren();
  }
  work.open(ready);
  if (!chosen?.text) return;
  try {
    if (view.id !== chosen.id) {
      view.id = chosen.id;
      const content = await fetchText(address(chosen.id, "/text"));
      if (!same()) return;
      const laidOut = view.open(content);
      const cells = await get(address(chosen.id, "/map"));
      if (!same()) return;
      map.show(chosen.id, cells);
      inView.begin = -1;
      await laidOut;
      view.render();
    }
    const found = await get(address(chosen.id));
    if (!same()) return;
    detail = found;
    inView.begin = -1;
    view.setHeadings(detail.headings);
    const option = (one) => make("option", { value: one.begin }, `${"\u2003".repeat(Math.min(one.level, 4) - 1)}${one.text}`);
    $("headings").replaceChildren(make("option", { value: "" }, t(detail.headings.length ? "headings" : "no_headings")), ...detail.headings.map(option));
    if ($("segments").checked) await segments();
  } catch (error) {
    if (same()) notify(error.message);
  }
}

async function segments() {
  if (!$("segments").checked || !current) { view.mark("segment", []); return; }
  const { begins } = await get(address(current, "/segments"));
  view.mark("segment", begins.map((begin, index) => [begin, begins[index + 1] ?? view.text.length]).filter((_, index) => index % 2));
}

// Searches in slices of the text, so that a long one blocks nothing.
async function search(query) {
  const { text } = view;
  matches = [];
  match = -1;
  search.query = query;
  if (query) {
    const pattern = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+"), "giu");
    const slice = 200000, over = query.length + 40;
    for (let begin = 0; begin < text.length && matches.length < MOST_MATCHES; begin += slice) {
      const part = text.slice(begin, begin + slice + over);
      for (const found of part.matchAll(pattern)) {
        if (found.index < slice && matches.length < MOST_MATCHES) matches.push([begin + found.index, begin + found.index + found[0].length]);
      }
      await breathe();
      if (search.query !== query) return;
    }
  }
  view.mark("search", matches);
}

async function step(by) {
  const query = $("query").value.trim();
  if (search.query !== query || (query && !matches.length)) await search(query);
  if (!matches.length) {
    $("matches").textContent = query ? t("no_match") : "";
    view.mark("target", []);
    return;
  }
  const from = view.view()[0];
  match = match < 0 ? Math.max(0, matches.findIndex((one) => one[0] >= from)) : (match + by + matches.length) % matches.length;
  $("matches").textContent = t("matches", number(match + 1), number(matches.length));
  view.goTo(matches[match][0]);
  mark("target", [matches[match]]);
}

function offerSelection() {
  const found = view.selected(), bar = $("selection");
  bar.hidden = !found;
  if (!found) return;
  bar.querySelector("[data-do=translate]").hidden = !about.translates;
  const frame = $("document").getBoundingClientRect();
  const above = found.box.top - frame.top - bar.offsetHeight - 8;
  bar.style.top = `${Math.max(48, Math.min(above, frame.height - bar.offsetHeight - 8))}px`;
  bar.style.left = `${Math.max(8, Math.min(found.box.left - frame.left, frame.width - bar.offsetWidth - 8))}px`;
}

function setTheme(name) {
  if (name === "dark" || name === "light") document.documentElement.dataset.theme = name;
}

$("search").addEventListener("submit", (event) => { event.preventDefault(); step(1); });
$("previous").addEventListener("click", () => step(-1));
$("headings").addEventListener("change", () => {
  if ($("headings").value) view.goTo(Number($("headings").value));
  $("headings").value = "";
});
$("segments").addEventListener("change", segments);
document.addEventListener("selectionchange", () => { clearTimeout(offerSelection.timer); offerSelection.timer = setTimeout(offerSelection, 150); });
$("selection").addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the selection
$("selection").addEventListener("click", (event) => {
  const kind = event.target.dataset.do, found = view.selected();
  if (!kind || !found) return;
  const { begin, end } = found;
  document.getSelection().removeAllRanges();
  pane("work");
  work.selection(kind, { begin, end }, view.text.slice(begin, end));
});
$("notice").querySelector("button").addEventListener("click", () => notify(""));
$("language").addEventListener("click", () => {
  setLanguage(language() === "zh" ? "en" : "zh");
  forgetQueue();
  map.describe();
  refresh();
  work.name();
  work.summarize();
});
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(dark ? "light" : "dark");
  keep("theme", dark ? "light" : "dark");
});
for (const one of document.querySelectorAll(".panes button")) one.addEventListener("click", () => pane(one.dataset.pane));
document.addEventListener("keydown", (event) => {
  const typing = /^(?:INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) { event.preventDefault(); pane("document"); $("query").focus(); }
  if (event.key === "Escape") { notify(""); for (const name of ["target", "search", "passage"]) view.mark(name, []); }
});

pane("document");
let lost = false, events = null;
// A hidden page listens to nothing: a browser opens six connections to a server only, for all of its pages.
function listen() {
  events?.close();
  events = document.hidden ? null : new EventSource("/api/events");
  events?.addEventListener("state", (event) => { state = JSON.parse(event.data); if (lost) { lost = false; notify(""); } refresh(); });
  events?.addEventListener("error", () => { if (!lost) { lost = true; notify(t("lost")); } });
}
document.addEventListener("visibilitychange", listen);
listen();
document.documentElement.dataset.ready = "true";
export { Failure, view };
