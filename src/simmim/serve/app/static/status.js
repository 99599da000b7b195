// The line at the bottom: model, tokens, index, seconds, memory; what runs and waits, with its stop button.

import { send } from "/static/api.js";
import { $, make } from "/static/dom.js";
import { bytes, duration, number, t } from "/static/words.js";

const stopping = new Set();

export function stageOf(job) {
  if (stopping.has(job.id)) return t("stage_stopping");
  const share = job.total ? ` ${Math.floor((100 * job.done) / job.total)} %` : "";
  const left = job.left !== null && job.stage !== "waiting" && job.left > 0 ? `, ${t("left", duration(job.left))}` : "";
  return `${t(`stage_${job.stage}`)}${share}${left}`;
}

export async function stop(job) {
  stopping.add(job.id);
  await send("POST", `/api/jobs/${job.id}/stop`);
}

export function stopButton(job) {
  return make("button", { type: "button", class: "stop", on: { click: () => stop(job) } }, t("stop"));
}

let shownQueue = null;

export function showQueue(jobs) {
  const running = jobs.find((job) => job.stage !== "waiting"), waiting = jobs.filter((job) => job !== running);
  const shown = running ?? waiting[0];
  if (!shown) {
    if (shownQueue !== "idle") $("queue").replaceChildren(make("span", { class: "hint" }, t("idle")));
    shownQueue = "idle";
    return;
  }
  const text = `${t(`kind_${shown.kind}`)}: ${shown.title}`;
  if (shownQueue !== shown.id) { // the button stays the same element: it keeps the focus
    $("queue").replaceChildren(
      make("progress", { "aria-label": text }), make("span", { class: "job" }), make("span", { class: "stage", "aria-live": "off" }),
      stopButton(shown), make("span", { class: "hint" }),
    );
    shownQueue = shown.id;
  }
  const [bar, job, stage, , more] = $("queue").children;
  if (shown.total) { bar.max = shown.total; bar.value = shown.done; } else bar.removeAttribute("value");
  job.textContent = text;
  stage.textContent = `${stageOf(shown)} · ${duration(shown.seconds)}`;
  more.textContent = waiting.length && running ? t("queued", number(waiting.length)) : "";
}

export function forgetQueue() { shownQueue = null; }

export function showFigures(about, state, entry) {
  const figures = [[t("model"), `${about.model} · ${about.dtype} · ${t("window").toLowerCase()} ${number(about.window)}`]];
  if (entry?.tokens) {
    figures.push([t("tokens"), number(entry.tokens)], [t("index"), bytes(entry.index_bytes)]);
    if (entry.seconds) figures.push([t("took"), duration(entry.seconds)]);
  }
  if (state.memory !== null) figures.push([t("memory"), `${number(state.memory)} MiB`]);
  $("figures").replaceChildren(...figures.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}
