// The browser's half of Panel: draws the sheet that Python describes and sends {action, value}.
// It knows no lesson.  Nothing here is loaded from elsewhere.

// Text with `code` in backticks; never HTML.
function inline(words) {
  return words.split(/`([^`\n]+)`/).map((part, i) => (i % 2 ? make("code", {}, part) : part));
}

function paragraphs(words) {
  return words.split("\n\n").map((part) => make("p", {}, ...inline(part)));
}

function render({ model, el }) {
  const prefix = `memlab-panel-${Math.random().toString(36).slice(2)}`; // panels on a page must not share ids; each has a copy of this module
  const values = { choice: null, reply: "", file: null }; // what has been chosen or typed
  const content = () => model.get("content");
  let silence = null; // the timer of WAITING
  const send = (button) => {
    clearTimeout(silence);
    silence = setTimeout(() => say(WAITING, ""), PATIENCE);
    model.send({ action: button.name, value: button.takes ? values[button.takes] : null });
  };
  const press = (name) => {
    const button = content().buttons.find((b) => b.name === name);
    if (button.off) say(button.off, "");
    else send(button);
  };

  const title = make("strong", { id: `${prefix}-title` });
  const note = make("span", { class: "memlab-note" });
  const above = make("div");
  const buttons = make("div", { class: "memlab-buttons" });
  const status = make("p", { role: "status", class: "memlab-status" });
  const below = make("div");
  const widget = make("div");
  const form = make("form", {}, above, buttons);
  const root = make("section", { class: "memlab-panel", "aria-labelledby": title.id }, make("div", { class: "memlab-head" }, title, note), form, status, below, widget);

  function say(words, tone) {
    if (status.textContent !== words) status.replaceChildren(...inline(words));
    status.dataset.tone = tone;
  }

  // What is the same stays the same node: focus, choices and what was typed are kept.
  function patch(parent, items, build) {
    const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
    let at = null;
    for (const item of items) {
      const described = JSON.stringify(item);
      let node = old.get(item.key);
      if (node?.described !== described) {
        const fresh = build(item, node);
        if (node && fresh !== node) node.replaceWith(fresh);
        node = fresh;
        node.dataset.key = item.key;
        node.described = described;
      }
      old.delete(item.key);
      const next = at ? at.nextSibling : parent.firstChild;
      if (next !== node) parent.insertBefore(node, next);
      at = node;
    }
    for (const node of old.values()) node.remove();
  }

  const builders = {
    text: ({ label, text }) => make("div", { class: "memlab-text" }, ...(label ? [make("p", { class: "memlab-label" }, label)] : []), ...paragraphs(text)),
    picture({ html }) {
      const node = make("div");
      node.innerHTML = html; // made by a figure in Python, never from what somebody typed
      return node;
    },
    choices({ label, choices }) {
      const options = choices.map((words, i) => {
        const radio = make("input", { type: "radio", name: `${prefix}-choice`, value: i });
        radio.addEventListener("change", () => (values.choice = i));
        return make("label", {}, radio, make("span", {}, ...inline(words)));
      });
      values.choice = null;
      return make("fieldset", {}, make("legend", {}, ...inline(label)), ...options);
    },
    input({ label }) {
      const field = make("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 200 });
      field.addEventListener("input", () => (values.reply = field.value));
      values.reply = "";
      return make("label", { class: "memlab-field" }, `${label} `, field);
    },
    code({ label, text }) {
      const pre = make("pre", { tabindex: "0", role: "region", "aria-label": label }, text);
      const copy = make("button", { type: "button" }, "Copy");
      copy.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
          say("Copied.", "");
        } catch {
          getSelection().selectAllChildren(pre);
          say("Selected: press Ctrl+C to copy.", "");
        }
      });
      return make("div", { class: "memlab-source" }, make("p", { class: "memlab-label" }, label, " ", copy), pre);
    },
    progress({ rows }) {
      const head = ["Chapter", "Exercises", "Predictions", "Drills"].map((name) => make("th", { scope: "col" }, name));
      const body = rows.map(({ chapter, exercises, predictions: [right, all], drills }) => {
        const marks = exercises.map(([stars, state]) => make("span", { class: `memlab-mark memlab-${state}`, role: "img", "aria-label": `${stars.length} stars, ${state}`, title: state }, stars));
        const bar = make("progress", { max: all || 1, value: right, "aria-label": `${chapter}: predictions` });
        return make("tr", {}, make("th", { scope: "row" }, chapter), make("td", {}, ...marks), make("td", {}, bar, ` ${right} of ${all}`), make("td", {}, String(drills)));
      });
      const caption = make("caption", {}, "Stars: filled is done, underlined is tried. Drills: questions answered right.");
      return make("div", { class: "memlab-scroll" }, make("table", {}, caption, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
    },
  };
  const build = (block) => builders[block.kind](block);

  function buildButton({ name, label, takes, off, first }, node) {
    if (takes === "file") return node ?? chooser(name, label);
    if (!node) {
      node = make("button", { type: first ? "submit" : "button" });
      if (!first) node.addEventListener("click", () => press(name));
    }
    node.textContent = label;
    node.setAttribute("aria-disabled", Boolean(off));
    node.title = off ?? "";
    return node;
  }

  // A button that opens the browser's own dialogue for files.
  function chooser(name, label) {
    const file = make("input", { type: "file", accept: ".jsonl,.json,.txt", hidden: "" });
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", () => file.click());
    file.addEventListener("change", async () => {
      if (!file.files.length) return;
      values.file = file.files[0].size > 4 << 20 ? "" : await file.files[0].text(); // Python refuses what is too long
      file.value = "";
      press(name);
    });
    return make("span", {}, button, file);
  }

  function draw() {
    const now = content();
    title.textContent = now.title;
    note.textContent = now.note;
    patch(above, now.blocks, build);
    patch(buttons, now.buttons.map((b, i) => ({ ...b, key: b.name, first: i === 0 })), buildButton);
    say(now.status, now.tone);
    patch(below, now.more, build);
  }

  let shown = null; // the id of the widget below
  async function drawWidget() {
    const id = model.get("widget");
    if (id === shown) return;
    shown = id;
    widget.replaceChildren();
    if (!id) return;
    const child = await model.widget_manager.get_model(id.slice("IPY_MODEL_".length));
    const view = await model.widget_manager.create_view(child);
    if (shown === id) widget.replaceChildren(view.el);
  }

  // Each message is answered, also if nothing on the sheet is new.
  function answered({ download: file }) {
    clearTimeout(silence);
    draw();
    if (!file) return;
    download(file.name, "application/x-ndjson", file.text);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    press(content().buttons[0].name);
  });
  // JupyterLab's command mode must not see keys that are meant for the panel: "d d" would delete the cell.
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
  model.on("change:content", draw);
  model.on("change:widget", drawWidget);
  model.on("msg:custom", answered);
  el.append(root);
  draw();
  drawWidget();
  return () => {
    model.off("change:content", draw);
    model.off("change:widget", drawWidget);
    model.off("msg:custom", answered);
    clearTimeout(silence);
  };
}

export default { render };
