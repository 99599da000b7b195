// Asks the server; what comes back of a document is text, and is never made into markup.

export class Failure extends Error {
  constructor(error, status) {
    super(error?.message ?? `status ${status}`);
    this.status = status;
    this.stopped = Boolean(error?.stopped);
  }
}

async function checked(response) {
  if (response.ok) return response;
  let error = null;
  try { error = (await response.json()).error; } catch { /* not our server's answer */ }
  throw new Failure(error, response.status);
}

export const address = (id, path = "") => `/api/documents/${encodeURIComponent(id)}${path}`;
export const get = async (path, signal) => (await checked(await fetch(path, { signal }))).json();
export const text = async (path, signal) => (await checked(await fetch(path, { signal }))).text();
export const send = async (method, path) => (await checked(await fetch(path, { method }))).json();

export async function upload(file) {
  const path = `/api/documents?name=${encodeURIComponent(file.name)}`;
  const headers = { "Content-Type": "application/octet-stream" };
  return (await checked(await fetch(path, { method: "POST", headers, body: file }))).json();
}

// Yields the server-sent events of a job as [name, content]; an error event is thrown.
export async function* job(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const response = await checked(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const found = /^event: (\w+)\ndata: (.*)$/.exec(buffer.slice(0, end));
      buffer = buffer.slice(end + 2);
      if (!found) continue;
      const content = JSON.parse(found[2]);
      if (found[1] === "error") throw new Failure(content, 0);
      yield [found[1], content];
    }
  }
}
