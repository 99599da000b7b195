// The list of documents: choose, add, go on, remove.

import { address, send, upload } from "/static/api.js";
import { $, make } from "/static/dom.js";
import { stageOf } from "/static/status.js";
import { number, t } from "/static/words.js";

function describe(entry, job) {
  if (job) return stageOf(job);
  if (entry.status === "ready") return t("status_ready", number(entry.tokens));
  if (entry.status === "foreign") return t("status_foreign", number(entry.tokens), entry.model);
  if (entry.status === "failed") return `${t("status_failed")}: ${entry.error}`;
  return t(`status_${entry.status}`);
}

export class LibraryView {
  // `choose` is called with an id, `notify` with a message.
  constructor(about, choose, notify) {
    Object.assign(this, { about, choose, notify, shown: "" });
    $("choose").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => { this.add([...$("file").files]); $("file").value = ""; });
    for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, (event) => this.drag(event));
  }

  drag(event) {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", event.type === "dragover");
    if (event.type === "drop") this.add([...event.dataTransfer.files]);
  }

  async add(files) {
    for (const file of files) {
      if (file.size > this.about.upload_bytes) {
        this.notify(t("too_large", file.name, this.about.upload_bytes / 2 ** 20));
        continue;
      }
      try {
        const { id, job } = await upload(file);
        if (job === null) this.notify(t("already", file.name));
        this.choose(id);
      } catch (error) {
        this.notify(error.message);
      }
    }
  }

  show(state, current) {
    const now = JSON.stringify([state.documents, state.jobs.map((job) => [job.document, job.stage, job.done, job.left]), current, document.documentElement.lang]);
    if (now === this.shown) return;
    this.shown = now;
    const focused = document.activeElement?.closest?.("#documents li")?.dataset.id;
    const which = document.activeElement?.className;
    $("documents").replaceChildren(...state.documents.map((entry) => this.item(entry, state, current)));
    if (focused) {
      const item = [...$("documents").children].find((one) => one.dataset.id === focused);
      [...(item?.querySelectorAll("button") ?? [])].find((one) => one.className === which)?.focus();
    }
  }

  item(entry, state, current) {
    const job = state.jobs.find((one) => one.document === entry.id && one.kind === "read");
    const open = make("button", { type: "button", class: "open", "aria-current": entry.id === current ? "true" : null, on: { click: () => this.choose(entry.id) } },
      make("span", { class: "name" }, entry.name), make("span", { class: "hint" }, describe(entry, job)), entry.note ? make("span", { class: "hint" }, entry.note) : null);
    const actions = make("span", { class: "actions" });
    if (!job && entry.owned && (entry.status === "stopped" || entry.status === "failed")) {
      actions.append(make("button", { type: "button", class: "quiet", on: { click: () => this.call("POST", address(entry.id, "/read")) } }, t("go_on")));
    }
    actions.append(make("button", {
      type: "button", class: "quiet remove", "aria-label": `${t("remove")}: ${entry.name}`, title: t("remove"),
      on: { click: () => confirm(t("remove_sure", entry.name)) && this.call("DELETE", address(entry.id)) },
    }, make("span", { "aria-hidden": "true" }, "×")));
    return make("li", { data: { id: entry.id, status: entry.status } }, open, actions);
  }

  async call(method, path) {
    try {
      await send(method, path);
    } catch (error) {
      this.notify(error.message);
    }
  }
}
