// Makes elements. Strings become text nodes; nothing parses markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, options = {}, ...children) {
  const { class: name, on = {}, data = {}, ...attributes } = options;
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  Object.assign(element.dataset, data);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text in which some words are marked.
export function marked(text, words) {
  const wanted = [...new Set(words.map((word) => word.toLowerCase().slice(0, 5)))].filter((word) => word.length > 3 || /[^\x00-\x7f]/.test(word));
  if (!wanted.length) return [text];
  const pattern = new RegExp(`(${wanted.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})[\\p{L}\\p{N}]*`, "giu");
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(pattern)) {
    const before = text[found.index - 1];
    if (before && /[\p{L}\p{N}]/u.test(before) && found[0].charCodeAt(0) < 0x2e80) continue;
    parts.push(text.slice(end, found.index), make("mark", {}, found[0]));
    end = found.index + found[0].length;
  }
  return [...parts, text.slice(end)];
}

export const breathe = () => new Promise((resolve) => setTimeout(resolve));
