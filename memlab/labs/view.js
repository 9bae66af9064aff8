// The browser's half of LabView: draws the controls that Python lists, patches the picture, and sends {action, params, sequence}.
// It knows no lab.  Nothing here is loaded from elsewhere.

const SVG = "http://www.w3.org/2000/svg";
const PANEL = 1000; // a panel's columns begin at a multiple of it

function makeSvg(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function render({ model, el }) {
  const prefix = `memlab-${Math.random().toString(36).slice(2)}`; // views on a page must not share ids; each has a copy of this module
  const pending = new Map(); // sequence number -> action of each message that no answer came to
  const cells = new Map(); // id -> [label, row, column]
  const fragments = new Map(); // id -> its <g>
  const texts = new Map(); // id -> what that was made of
  let reasons = {}; // name -> why it cannot be done now
  let active = null; // the cell that arrow keys have reached
  let selected = null;
  let silence = null; // the timer of WAITING
  let sequence = Math.floor(Math.random() * 2 ** 40); // views of one widget get each other's answers, and tell them apart by it

  const send = (action, params = {}) => {
    pending.set(++sequence, action);
    busy();
    model.send({ action, params, sequence });
    return sequence;
  };
  // The picture is about to change; a search's slices ask for themselves, one after the other.
  const busy = () => {
    const is = [...pending.values()].some((action) => action !== "search_on");
    host.setAttribute("aria-busy", is);
    clearTimeout(silence);
    if (is) silence = setTimeout(() => (status.textContent = WAITING), PATIENCE);
  };

  // -- what stands there from the beginning

  const status = make("p", { role: "status", class: "memlab-status" }, WAITING);
  const reason = make("span");
  const alertUndo = make("button", { type: "button" }, "Undo");
  const alert = make("div", { role: "alert", class: "memlab-alert" });
  const overlay = makeSvg("g");
  const panels = make("div", { class: "ml-panels" });
  const hint = make("p", { id: `${prefix}-hint`, class: "memlab-hint" }, "Click in the picture, or use the arrow keys and Enter.");
  const host = make("div", { class: "memlab-host", tabindex: "0", role: "application", "aria-describedby": hint.id }, panels);
  const legend = make("ul", { class: "ml-legend", "aria-label": "Legend" });
  const details = make("dl", { class: "memlab-details" });
  const code = make("pre", { class: "memlab-code", tabindex: "0", role: "region", "aria-label": "Python code of the steps so far", hidden: "" });
  const buttons = new Map();

  const button = (name, label, press) => {
    const node = make("button", { type: "button", "data-action": name }, label);
    node.addEventListener("click", () => {
      if (reasons[name]) status.textContent = reasons[name];
      else press(node);
    });
    buttons.set(name, node);
    return node;
  };
  const toggle = (name, label, press) => {
    const node = button(name, label, () => {
      const on = node.getAttribute("aria-pressed") !== "true";
      node.setAttribute("aria-pressed", on);
      press(on);
    });
    node.setAttribute("aria-pressed", "false");
    return node;
  };

  const controls = new Map(); // action -> its parameters' controls
  const actions = make("div", { role: "toolbar", "aria-label": "Actions", class: "memlab-toolbar" });
  for (const { name, label, params } of model.get("actions")) {
    const group = make("span", { class: params.length ? "memlab-action memlab-with" : "memlab-action" });
    const own = params.map(control);
    controls.set(name, own);
    group.append(...own.map(({ node }) => node), button(name, label, () => send(name, Object.fromEntries(own.map(({ name: key, value }) => [key, value()])))));
    actions.append(group);
  }

  const searched = model.get("search"); // null, or what can be searched for: a slice is done for each message, so that Stop is heard
  const progress = make("span", { class: "memlab-progress" });
  const search = make("div", { role: "toolbar", "aria-label": "Search", class: "memlab-toolbar" });
  if (searched) {
    const own = searched.params.map(control);
    const group = make("span", { class: "memlab-action memlab-with" });
    group.append(...own.map(({ node }) => node));
    group.append(button("search", searched.label, () => send("search", Object.fromEntries(own.map(({ name: key, value }) => [key, value()])))));
    group.append(button("stop", "Stop", () => send("stop")), progress);
    search.append(group);
  }

  const time = slider("Time", (at) => send("go", { position: at }));
  const inside = slider("Inside this step", (at) => send("frame", { frame: at === Number(inside.range.max) ? null : at }));
  inside.node.hidden = true;
  const history = make("div", { role: "toolbar", "aria-label": "History", class: "memlab-toolbar" });
  for (const name of ["Undo", "Redo", "Reset"]) history.append(button(name.toLowerCase(), name, () => send(name.toLowerCase())));
  history.append(time.node, inside.node);

  const look = make("div", { role: "toolbar", "aria-label": "View", class: "memlab-toolbar memlab-look" });
  look.append(
    toggle("hexadecimal", "Hexadecimal", (on) => send("hexadecimal", { on })),
    toggle("large", "Large", (on) => root.classList.toggle("memlab-large", on)),
    toggle("code", "Show code", (on) => send("code", { on })),
    toggle("state_code", "State code", (on) => send("state_code", { on })),
    button("save_picture", "Save picture", () => send("save_picture")),
  );

  const own = make("input", { type: "text", readonly: "", spellcheck: "false" });
  own.addEventListener("focus", () => own.select());
  const ownLabel = make("label", {}, "State code of this machine ", own);
  const why = make("p", { class: "memlab-why" });
  const pasted = make("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "memlab1…" });
  const open = button("open", "Open", () => send("open", { code: pasted.value }));
  pasted.addEventListener("keydown", (event) => {
    if (event.key === "Enter") open.click();
  });
  const states = make("div", { class: "memlab-states", hidden: "" }, ownLabel, why, make("label", {}, "Go to the state of a code ", pasted), open);

  const head = make("div", { class: "memlab-head" }, make("strong", {}, model.get("title")), look);
  const picture = make("div", { class: "memlab-picture-column" }, hint, host, legend);
  const body = make("div", { class: "memlab-body" }, picture, details);
  const root = make("section", { class: "memlab-lab", "aria-label": model.get("title") }, head, actions, ...(searched ? [search] : []), history, states, status, alert, body, code);

  // -- the picture

  // Returns [element, box in its coordinates] of a cell: an element of its own, or its share of a grid of cells.
  function place(id) {
    const node = host.querySelector(`[data-cell="${CSS.escape(id)}"]`);
    if (node) return [node, node.getBBox()];
    const [, kind, number] = /^(.*)-(\d+)$/.exec(id) ?? [];
    for (const grid of host.querySelectorAll("[data-grid]")) {
      const { grid: name, columns, rows, first, each } = grid.dataset;
      const i = (number - first) / each;
      if (name !== kind || !Number.isInteger(i) || i < 0 || i >= columns * rows) continue;
      const { x, y, width, height } = grid.getBBox();
      const [wide, high] = [width / columns, height / rows];
      return [grid, { x: x + (i % columns) * wide, y: y + Math.floor(i / columns) * high, width: wide, height: high }];
    }
    return undefined;
  }

  // Returns the id of the cell under the mouse.
  function under(event) {
    const grid = event.target.closest("[data-grid]");
    if (!grid) return event.target.closest("[data-cell]")?.dataset.cell;
    const { grid: name, columns, rows, first, each } = grid.dataset;
    const box = grid.getBoundingClientRect();
    const [column, row] = [((event.clientX - box.left) / box.width) * columns, ((event.clientY - box.top) / box.height) * rows].map(Math.floor);
    return `${name}-${Number(first) + (row * columns + column) * each}`;
  }

  function mark(id) {
    // An element of its own for each cell, so that a screen reader notices the move; it is drawn above everything.
    overlay.replaceChildren();
    active = cells.has(id) ? id : null;
    const [node, box] = (active && place(active)) ?? [];
    if (!node) {
      host.removeAttribute("aria-activedescendant");
      return;
    }
    const svg = node.ownerSVGElement;
    const ring = makeSvg("g", { id: `${prefix}-${active}`, role: "img", "aria-label": cells.get(active)[0] + (active === selected ? ", selected" : "") });
    ring.append(makeSvg("rect", { class: "memlab-ring", x: box.x, y: box.y, width: box.width, height: box.height }));
    let transform = "";
    for (let up = node; up !== svg; up = up.parentNode) transform = `${up.getAttribute("transform") ?? ""} ${transform}`;
    ring.setAttribute("transform", transform);
    overlay.append(ring);
    svg.append(overlay);
    host.setAttribute("aria-activedescendant", ring.id);
  }

  function neighbour(key) {
    const [, hereRow, hereColumn] = cells.get(active);
    const herePanel = Math.floor(hereColumn / PANEL);
    const distance = ([, row, column]) => {
      const panel = Math.floor(column / PANEL) - herePanel;
      if (key === "ArrowLeft" || key === "ArrowRight") {
        const right = key === "ArrowRight" ? column - hereColumn : hereColumn - column;
        if (right <= 0 || (panel === 0 && row !== hereRow)) return Infinity;
        return right + (panel === 0 ? 0 : Math.abs(row - hereRow) * 1e6); // in another panel: the nearest row
      }
      if (panel !== 0) return Infinity;
      if (key === "Home") return row === hereRow ? column : Infinity;
      if (key === "End") return row === hereRow ? -column : Infinity;
      const rows = key === "ArrowUp" ? hereRow - row : row - hereRow;
      return rows > 0 ? rows * 1e6 + Math.abs(column - hereColumn) : Infinity;
    };
    let best = null;
    let least = Infinity;
    for (const [id, cell] of cells) {
      const d = distance(cell);
      if (d < least) [best, least] = [id, d];
    }
    return best;
  }

  const here = () => [active, selected].find((id) => cells.has(id)) ?? cells.keys().next().value; // what was active may have gone
  host.addEventListener("focus", () => mark(here()));
  host.addEventListener("blur", () => overlay.replaceChildren());
  host.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !cells.size) return;
    if (["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) {
      event.preventDefault();
      if (active) mark(neighbour(event.key) ?? active);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (active) send("select", { cell: active });
    }
  });
  host.addEventListener("click", (event) => {
    const id = under(event);
    if (!cells.has(id)) return;
    mark(id);
    send("select", { cell: id });
  });

  // JupyterLab's command mode must not see keys that are meant for the lab: "d d" would delete the cell.
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
  alertUndo.addEventListener("click", () => send("undo"));

  // -- what Python answers

  function patch(news) {
    for (const id of news.gone) {
      fragments.get(id)?.remove();
      fragments.delete(id);
      texts.delete(id);
    }
    const old = []; // shapes that are not what they were, all over the picture,
    let fresh = ""; // and what they become
    for (const [id, text] of Object.entries(news.fragments)) {
      if (!fragments.has(id)) fragments.set(id, makeSvg("g", { "data-fragment": id }));
      const group = fragments.get(id);
      const changed = changedShapes(group, texts.get(id) ?? "", text);
      if (changed) {
        old.push(...changed.map(([node]) => node));
        fresh += changed.map(([, now]) => now).join("");
      } else become(group, parsed(text));
      texts.set(id, text);
    }
    const now = [...parsed(fresh).children];
    old.forEach((node, i) => becomeNode(node, now[i]));
    for (const id of news.gone_cells) cells.delete(id);
    for (const [id, cell] of Object.entries(news.cells)) cells.set(id, cell);
    for (const [name, change] of Object.entries(changes)) if (name in news) change(news[name]);
    if (document.activeElement === host) mark(here());
  }

  const changes = {
    panels(list) {
      while (panels.children.length > list.length) panels.lastChild.remove();
      while (panels.children.length < list.length) panels.append(makeSvg("svg", { role: "presentation" }));
      list.forEach(([width, height, ids], i) => {
        const svg = panels.children[i];
        const box = `0 0 ${width} ${height}`;
        if (svg.getAttribute("viewBox") !== box) {
          svg.setAttribute("viewBox", box); // to set it again would have all of the picture laid out and painted again
          svg.style.setProperty("--ml-width", `${width}px`);
        }
        ids.forEach((id, n) => {
          if (svg.children[n] !== fragments.get(id)) svg.insertBefore(fragments.get(id), svg.children[n] ?? null);
        });
      });
      root.classList.toggle("memlab-wide", list.length > 1);
    },
    label: (label) => host.setAttribute("aria-label", label),
    legend: (keys) =>
      become(legend, make("ul", {}, ...keys.map(([kind, letter, meaning]) => make("li", {}, make("span", { class: `ml-key ${kind}` }, letter), meaning)))),
    selected: (id) => {
      selected = id;
    },
    details: (list) => become(details, make("dl", { class: "memlab-details" }, ...list.flatMap(([name, words]) => [make("dt", {}, name), make("dd", {}, words)]))),
    hexadecimal: (on) => buttons.get("hexadecimal").setAttribute("aria-pressed", on),
    disabled(now) {
      reasons = now;
      for (const [name, node] of buttons) {
        if (node.title === (reasons[name] ?? "") && node.hasAttribute("aria-disabled")) continue;
        node.setAttribute("aria-disabled", name in reasons);
        node.title = reasons[name] ?? "";
      }
    },
    controls(list) {
      for (const [name, params] of Object.entries(list)) {
        const own = controls.get(name);
        params.forEach((param, i) => {
          if (own[i].kind === param.kind) return own[i].update(param);
          const old = own[i].node;
          own[i] = control(param); // a range that became so long, or short, that it is drawn otherwise
          old.replaceWith(own[i].node);
        });
      }
    },
    history: ([at, last]) => time.show(at, last, `step ${at} of ${last}`),
    inside(now) {
      inside.node.hidden = now === null;
      if (now) inside.show(now[0] ?? now[1], now[1], now[2]);
    },
    code(text) {
      buttons.get("code").setAttribute("aria-pressed", text !== null);
      code.hidden = text === null;
      code.textContent = text ?? "";
    },
    state_code(now) {
      buttons.get("state_code").setAttribute("aria-pressed", now !== null);
      states.hidden = now === null;
      own.value = now?.[0] ?? "";
      ownLabel.hidden = !own.value;
      why.textContent = now?.[1] ?? "";
    },
  };

  function receive(answer) {
    if (answer.fragments) patch(answer);
    time.answered(answer.sequence);
    inside.answered(answer.sequence);
    if (!pending.has(answer.sequence)) {
      if (status.textContent === WAITING) status.textContent = "";
      return; // another view's doing: the picture follows, but only the view that acted speaks
    }
    for (const sent of pending.keys()) if (sent <= answer.sequence) pending.delete(sent); // an earlier one without an answer got lost
    busy();
    if ("progress" in answer) progress.textContent = answer.progress;
    if (answer.searching) send("search_on");
    if (answer.file) download(answer.name, "image/svg+xml", answer.file);
    if (answer.alert) {
      reason.textContent = answer.alert;
      if (!reason.isConnected) alert.append(reason, alertUndo);
    } else if (!answer.refused) alert.replaceChildren();
    if (answer.status || answer.alert) status.textContent = answer.status ?? "";
    else if (status.textContent === WAITING) status.textContent = "Ready.";
  }

  let last = Promise.resolve(); // long answers come compressed; all are taken in the order in which they came
  const arrived = (answer, buffers) => {
    last = last.then(async () => receive(buffers?.length ? await unpacked(buffers[0]) : answer)).catch(console.error);
  };
  model.on("msg:custom", arrived);
  el.append(root);
  send("show");
  let asked = 1; // a message may get lost while a page opens: then ask again
  const again = setInterval(() => {
    if (asked++ > 6 || status.textContent !== WAITING) clearInterval(again);
    else send("show");
  }, 5000);
  return () => {
    clearInterval(again);
    clearTimeout(silence);
    model.off("msg:custom", arrived);
  };
}

function parsed(text) {
  const group = makeSvg("g");
  group.innerHTML = text;
  return group;
}

// Returns [[element, its new text], ...] if all that differs between a group's old and new text is some of its shapes, one for one; else null.
// Most clicks change a few of hundreds: to parse only these takes a third of the time.
function changedShapes(group, before, after) {
  const cut = /(?=<(?:rect|path|text|g|\/g)\b)/;
  const shape = /^<(?:(?:rect|path)\b[^<>]*\/>|text\b[^<>]*>[^<>]*<\/text>)$/;
  const [was, is] = [before.split(cut), after.split(cut)];
  if (was.length !== is.length) return null;
  const nodes = group.querySelectorAll("rect, path, text");
  const changed = [];
  let n = 0;
  for (const [i, piece] of is.entries()) {
    const isShape = shape.test(piece);
    if (piece !== was[i]) {
      if (!isShape || !shape.test(was[i]) || nodes[n]?.nodeName !== /\w+/.exec(piece)[0]) return null;
      changed.push([nodes[n], piece]);
    }
    n += isShape;
  }
  return n === nodes.length ? changed : null;
}

// Makes a node's children those of another, leaving alone what is the same: what is not touched need not be laid out and painted again.
function become(node, now) {
  const had = [...node.childNodes];
  const fresh = [...now.childNodes];
  fresh.forEach((child, i) => {
    if (i >= had.length) node.append(child);
    else if (had[i].nodeName !== child.nodeName) had[i].replaceWith(child);
    else if (!had[i].isEqualNode(child)) becomeNode(had[i], child);
  });
  for (const child of had.slice(fresh.length)) child.remove();
}

// Makes a node what another of the same name is.  To put the other in its place would take longer.
function becomeNode(node, now) {
  if (node.nodeType === Node.TEXT_NODE) {
    node.data = now.data;
    return;
  }
  for (const name of node.getAttributeNames()) if (!now.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of now.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  become(node, now);
}

function unpacked(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// Returns {node, range, show(at, last, words), answered(sequence)}: a slider over moments, whose moves are sent one at a time.
function slider(label, move) {
  const range = make("input", { type: "range", min: 0, max: 0, value: 0, step: 1 });
  const output = make("span", { class: "memlab-moment", "aria-hidden": "true" }); // the slider itself tells a screen reader
  let sent = null; // the message that no answer came to
  let wanted = null;
  range.addEventListener("input", () => {
    wanted = Number(range.value);
    if (sent === null) [sent, wanted] = [move(wanted), null];
  });
  return {
    node: make("label", { class: "memlab-slider" }, `${label} `, range, output),
    range,
    show(at, most, words) {
      range.max = most;
      if (wanted === null) range.value = at;
      output.textContent = words;
      range.setAttribute("aria-valuetext", words);
      range.disabled = most === 0;
    },
    answered(sequence) {
      if (sent === null || sequence !== sent) return;
      sent = null;
      if (wanted !== null) [sent, wanted] = [move(wanted), null];
    },
  };
}

// Returns {kind, name, node, value(), update(param)} for a parameter that Python described; update keeps what is chosen where it can.
function control(param) {
  const { kind, name, label } = param;
  if (kind === "choice") {
    const select = make("select");
    const update = ({ choices }) => {
      const chosen = select.value;
      select.replaceChildren(...choices.map((text) => make("option", { value: text }, text)));
      if (choices.includes(chosen)) select.value = chosen;
    };
    update(param);
    return { kind, name, node: make("label", {}, `${label} `, select), value: () => select.value, update };
  }
  if (kind === "text") {
    const field = make("input", { type: "text", maxlength: param.most, size: Math.min(param.most, 20), title: param.words, spellcheck: "false" });
    field.value = param.value;
    return { kind, name, node: make("label", {}, `${label} `, field), value: () => field.value, update: () => {} };
  }
  if (kind === "number") {
    const field = make("input", { type: "number", step: 1, value: param.value });
    const update = ({ low, high }) => Object.assign(field, { min: low, max: high });
    update(param);
    return { kind, name, node: make("label", {}, `${label} `, field), value: () => field.valueAsNumber, update };
  }
  const range = make("input", { type: "range", min: 0, step: 1 });
  const output = make("span", { class: "memlab-value", "aria-hidden": "true" }); // the slider itself tells a screen reader
  let { values, words } = param;
  const say = () => {
    output.textContent = words[range.value] ?? "";
    range.setAttribute("aria-valuetext", output.textContent);
  };
  const update = (now) => {
    const chosen = values[range.value];
    ({ values, words } = now);
    range.max = Math.max(values.length - 1, 0);
    range.value = Math.max(values.indexOf(values.includes(chosen) ? chosen : now.value), 0);
    say();
  };
  range.max = Math.max(values.length - 1, 0);
  range.value = Math.max(values.indexOf(param.value), 0);
  range.addEventListener("input", say);
  say();
  return { kind, name, node: make("label", {}, `${label} `, range, output), value: () => values[range.value] ?? null, update };
}

export default { render };
