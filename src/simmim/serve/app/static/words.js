// The words of the page in English and Chinese, and numbers as each writes them.

const english = {
  skip: "Skip to the text", panes: "Panes", library: "Library", map: "Map", document: "Document", work: "Work",
  other_language: "中文", theme: "Light or dark", close: "Close",
  drop: "Drop files here, or", add: "Add documents", formats: "PDF, Word, Markdown, HTML, EPUB, text and others; up to {0} MiB each.",
  headings: "Headings", no_headings: "No headings", search: "Search in the text", previous: "Previous match", next: "Next match",
  segments: "Segments", text: "Text of the document", selection: "Selected text",
  welcome: "A long document, seen whole",
  welcome_text: "Everything happens on this machine. Nothing is sent anywhere.",
  welcome_1: "Add a document. It is read once, and stays in your library.",
  welcome_2: "Read its summary; each sentence leads to the passage that it is.",
  welcome_3: "Ask. The map shows which passages were read for the answer.",
  summary: "Summary", ask: "Ask", translate: "Translate", history: "History", summarize: "Summarise",
  length: "Length", line_long: "A line", paragraph: "A paragraph", page_long: "A page", whole: "Whole document",
  part: "Of the selected text, {0} characters", question: "Your question",
  ask_hint: "A small model answers simple questions only, and makes things up: look at the passages.",
  no_translation: "No model for translation is loaded. Start again with simmim app --translation-model NAME.",
  target: "Into", linked: "Scroll together", passages: "Passages that were read", read_for: "{0} tokens read, first word after {1} s, all in {2} s",
  line: "line {0}", page: "page {0}", page_of: "page {0} of {1}", line_of: "{0} %", no_history: "Nothing was asked about this document yet.",
  nothing: "Nothing to show yet.", not_yet: "As soon as the document is read.", from_to: "{0} words in the document; its own sentences, as they stand.",
  status_waiting: "waiting", status_reading: "reading", status_stopped: "stopped", status_failed: "failed",
  status_ready: "{0} tokens", status_foreign: "{0} tokens, read by {1}: can be summarised, not asked",
  go_on: "Go on", remove: "Remove", remove_sure: "Remove “{0}” and all that was read of it?", stop: "Stop",
  stage_waiting: "waiting", stage_running: "starting", stage_extracting: "extracting the text", stage_tokenizing: "splitting into tokens",
  stage_reading: "reading", stage_indexing: "indexing", stage_summarizing: "summarising", stage_finding: "finding passages, writing",
  stage_loading: "loading the model", stage_translating: "translating", stage_stopping: "stopping",
  kind_read: "Read", kind_summarize: "Summarise", kind_ask: "Ask", kind_translate: "Translate",
  left: "{0} left", idle: "Nothing is running", queued: "{0} waiting", model: "Model", window: "Window", tokens: "Tokens",
  index: "Index", took: "Read in", memory: "Peak memory", tokens_of: "{0} tokens", lost: "No connection to simmim app. Is it still running?",
  stopped: "Stopped.", map_hint: "{0} segments; a cell of the lowest row is {1}", one_segment: "one segment", many_segments: "{0} segments",
  cell: "Segments {0} to {1}", cell_one: "Segment {0}", too_large: "{0}: larger than {1} MiB", loading: "Loading …", of: "{0} of {1}",
  map_label: "Map of the document: arrow keys move between cells, Enter shows the text", faults: "Look at this: {0}", translated: "{0} of {1} blocks",
  answer: "Answer", matches: "{0} of {1}", no_match: "no match", already: "“{0}” is in the library already.", show: "Show in the text", download: "Download",
};
const chinese = {
  skip: "跳到正文", panes: "窗格", library: "文库", map: "全图", document: "正文", work: "工作",
  other_language: "English", theme: "浅色或深色", close: "关闭",
  drop: "把文件拖到这里，或", add: "添加文档", formats: "PDF、Word、Markdown、HTML、EPUB、文本等；每个不超过 {0} MiB。",
  headings: "标题", no_headings: "没有标题", search: "在正文中查找", previous: "上一处", next: "下一处",
  segments: "分段", text: "文档正文", selection: "选中的文字",
  welcome: "一眼看全长文档",
  welcome_text: "一切都在本机进行，不向任何地方发送数据。",
  welcome_1: "添加文档。它只读一遍，并留在文库里。",
  welcome_2: "看摘要；每一句都通向它所在的段落。",
  welcome_3: "提问。全图显示回答时读了哪些段落。",
  summary: "摘要", ask: "提问", translate: "翻译", history: "历史", summarize: "摘要",
  length: "长度", line_long: "一行", paragraph: "一段", page_long: "一页", whole: "整个文档",
  part: "选中文字的摘要，{0} 个字符", question: "您的问题",
  ask_hint: "小模型只能回答简单的问题，也会编造：请看段落。",
  no_translation: "没有加载翻译模型。请用 simmim app --translation-model 名称 重新启动。",
  target: "译成", linked: "同步滚动", passages: "读过的段落", read_for: "读了 {0} 个词元，{1} 秒后出第一个词，共 {2} 秒",
  line: "第 {0} 行", page: "第 {0} 页", page_of: "第 {0} 页，共 {1} 页", line_of: "{0} %", no_history: "还没有对这个文档提过问题。",
  nothing: "还没有内容。", not_yet: "文档读完后即可使用。", from_to: "文档共 {0} 词；摘要是其中原句。",
  status_waiting: "等待中", status_reading: "正在读", status_stopped: "已停止", status_failed: "失败",
  status_ready: "{0} 个词元", status_foreign: "{0} 个词元，由 {1} 读过：可以摘要，不能提问",
  go_on: "继续", remove: "删除", remove_sure: "删除“{0}”以及读过的一切？", stop: "停止",
  stage_waiting: "等待中", stage_running: "开始", stage_extracting: "提取文字", stage_tokenizing: "切分词元",
  stage_reading: "阅读", stage_indexing: "建索引", stage_summarizing: "做摘要", stage_finding: "找段落、写回答",
  stage_loading: "加载模型", stage_translating: "翻译", stage_stopping: "正在停止",
  kind_read: "阅读", kind_summarize: "摘要", kind_ask: "提问", kind_translate: "翻译",
  left: "还需 {0}", idle: "没有任务", queued: "{0} 个等待", model: "模型", window: "窗口", tokens: "词元",
  index: "索引", took: "阅读用时", memory: "内存峰值", tokens_of: "{0} 个词元", lost: "与 simmim app 的连接断了。它还在运行吗？",
  stopped: "已停止。", map_hint: "{0} 段；最下一行每格{1}", one_segment: "一段", many_segments: " {0} 段",
  cell: "第 {0} 到 {1} 段", cell_one: "第 {0} 段", too_large: "{0}：大于 {1} MiB", loading: "加载中……", of: "{0}，共 {1}",
  map_label: "文档全图：方向键在格子间移动，回车显示正文", faults: "请检查：{0}", translated: "{0}/{1} 块",
  answer: "回答", matches: "{0}/{1}", no_match: "没有找到", already: "“{0}”已在文库里。", show: "在正文中显示", download: "下载",
};
const all = { en: english, zh: chinese };

const preferred = () => (navigator.languages || ["en"]).some((one, index) => index === 0 && one.startsWith("zh")) ? "zh" : "en";
let current = read("language") in all ? read("language") : preferred();

export function read(name) {
  try { return localStorage.getItem(`simmim-${name}`); } catch { return null; }
}
export function keep(name, value) {
  try { localStorage.setItem(`simmim-${name}`, value); } catch { /* private windows may refuse */ }
}
export const language = () => current;
export function setLanguage(name) {
  current = name;
  keep("language", name);
  apply();
}
export function t(key, ...values) {
  return all[current][key].replace(/\{(\d)\}/g, (_, index) => values[index] ?? "");
}
export const number = (value) => new Intl.NumberFormat(current).format(value);
export function bytes(value) {
  const mib = value / 2 ** 20;
  return mib < 1 ? `${number(Math.max(1, Math.round(value / 1024)))} kB` : `${number(Number(mib.toPrecision(3)))} MiB`;
}
export function duration(seconds) {
  if (seconds < 90) return `${number(Number(seconds.toPrecision(seconds < 10 ? 2 : 3)))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
export function apply() {
  document.documentElement.lang = current === "zh" ? "zh-CN" : "en";
  for (const one of document.querySelectorAll("[data-i18n]")) one.textContent = t(one.dataset.i18n, one.dataset.value);
  for (const one of document.querySelectorAll("[data-i18n-label]")) {
    one.setAttribute("aria-label", t(one.dataset.i18nLabel));
    if (one.tagName === "BUTTON") one.title = t(one.dataset.i18nLabel);
  }
  for (const one of document.querySelectorAll("[data-i18n-placeholder]")) one.placeholder = t(one.dataset.i18nPlaceholder);
}
