// The browser's half of LabView: draws the controls that Python lists, patches the picture, and sends {action, params, sequence}.
// It knows no lab.  Nothing here is loaded from elsewhere.

const SVG = "http://www.w3.org/2000/svg";
let views = 0;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function makeSvg(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function render({ model, el }) {
  const prefix = `memlab-${++views}`; // two views on a page must not share ids
  const pending = new Set();
  const cells = new Map(); // id -> [label, row, column]
  let reasons = {}; // name -> why it cannot be done now
  let active = null; // the cell that arrow keys have reached
  let selected = null;
  let sequence = Math.floor(Math.random() * 2 ** 40); // views of one widget get each other's answers, and tell them apart by it

  const send = (action, params = {}) => {
    pending.add(++sequence);
    model.send({ action, params, sequence });
  };

  // -- what stands there from the beginning

  const status = make("p", { role: "status", class: "memlab-status" }, "Waiting for the kernel. If nothing comes, run this cell again.");
  const reason = make("span");
  const alertUndo = make("button", { type: "button" }, "Undo");
  const alert = make("div", { role: "alert", class: "memlab-alert" });
  const svg = makeSvg("svg", { role: "presentation" });
  const overlay = makeSvg("g");
  svg.append(overlay);
  const hint = make("p", { id: `${prefix}-hint`, class: "memlab-hint" }, "Click a page, or use the arrow keys and Enter.");
  const host = make("div", { class: "memlab-host", tabindex: "0", role: "application", "aria-describedby": hint.id });
  host.append(svg);
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

  const actions = make("div", { role: "toolbar", "aria-label": "Actions", class: "memlab-toolbar" });
  for (const { name, label, params } of model.get("actions")) {
    const group = make("span", { class: "memlab-action" });
    const values = params.map((param) => {
      const [node, value] = control(param);
      group.append(node);
      return [param.name, value];
    });
    group.append(button(name, label, () => send(name, Object.fromEntries(values.map(([key, value]) => [key, value()])))));
    actions.append(group);
  }
  const steps = make("span", { class: "memlab-action" });
  for (const name of ["Undo", "Redo", "Reset"]) steps.append(button(name.toLowerCase(), name, () => send(name.toLowerCase())));
  actions.append(steps);
  const look = make("div", { role: "toolbar", "aria-label": "View", class: "memlab-toolbar memlab-look" });
  look.append(
    toggle("hexadecimal", "Hexadecimal", (on) => send("hexadecimal", { on })),
    toggle("large", "Large", (on) => root.classList.toggle("memlab-large", on)),
    toggle("code", "Show code", (on) => send("code", { on })),
  );
  const head = make("div", { class: "memlab-head" }, make("strong", {}, model.get("title")), look);
  const picture = make("div", { class: "memlab-picture-column" }, hint, host, legend);
  const body = make("div", { class: "memlab-body" }, picture, details);
  const root = make("section", { class: "memlab-lab", "aria-label": model.get("title") }, head, actions, status, alert, body, code);

  // -- the picture

  const cellNode = (id) => svg.querySelector(`[data-cell="${CSS.escape(id)}"]`);

  function mark(id) {
    // An element of its own for each cell, so that a screen reader notices the move; it is drawn above everything.
    overlay.replaceChildren();
    active = cells.has(id) ? id : null;
    const node = active && cellNode(active);
    if (!node) {
      host.removeAttribute("aria-activedescendant");
      return;
    }
    const box = node.getBBox();
    const ring = makeSvg("g", { id: `${prefix}-${active}`, role: "img", "aria-label": cells.get(active)[0] + (active === selected ? ", selected" : "") });
    ring.append(makeSvg("rect", { class: "memlab-ring", x: box.x, y: box.y, width: box.width, height: box.height }));
    let transform = "";
    for (let up = node.parentNode; up !== svg; up = up.parentNode) transform = `${up.getAttribute("transform") ?? ""} ${transform}`;
    ring.setAttribute("transform", transform);
    overlay.append(ring);
    host.setAttribute("aria-activedescendant", ring.id);
  }

  function neighbour(key) {
    const here = cells.get(active);
    const distance = ([, row, column]) => {
      if (key === "ArrowLeft") return row === here[1] && column < here[2] ? here[2] - column : Infinity;
      if (key === "ArrowRight") return row === here[1] && column > here[2] ? column - here[2] : Infinity;
      if (key === "Home") return row === here[1] ? column : Infinity;
      if (key === "End") return row === here[1] ? -column : Infinity;
      const rows = key === "ArrowUp" ? here[1] - row : row - here[1];
      return rows > 0 ? rows * 1e6 + Math.abs(column - here[2]) : Infinity;
    };
    let best = null;
    let least = Infinity;
    for (const [id, cell] of cells) {
      const d = distance(cell);
      if (d < least) [best, least] = [id, d];
    }
    return best;
  }

  host.addEventListener("focus", () => mark(active ?? selected ?? cells.keys().next().value));
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
    const node = event.target.closest("[data-cell]");
    if (!node) return;
    mark(node.dataset.cell);
    send("select", { cell: node.dataset.cell });
  });

  // JupyterLab's command mode must not see keys that are meant for the lab: "d d" would delete the cell.
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
  alertUndo.addEventListener("click", () => send("undo"));

  // -- what Python answers

  function patch(news) {
    for (const id of news.gone) fragment(id)?.remove();
    for (const [id, text] of Object.entries(news.fragments)) {
      let node = fragment(id);
      if (!node) {
        node = makeSvg("g", { "data-fragment": id });
        svg.insertBefore(node, overlay);
      }
      node.innerHTML = text;
    }
    for (const id of news.order ?? []) svg.insertBefore(fragment(id), overlay);
    for (const id of news.gone_cells) cells.delete(id);
    for (const [id, cell] of Object.entries(news.cells)) cells.set(id, cell);
    svg.setAttribute("viewBox", `0 0 ${news.size[0]} ${news.size[1]}`);
    svg.style.setProperty("--ml-width", `${news.size[0]}px`);
    host.setAttribute("aria-label", news.label);
    legend.replaceChildren(...news.legend.map(([kind, letter, meaning]) => make("li", {}, make("span", { class: `ml-key ${kind}` }, letter), meaning)));
    selected = news.selected;
    details.replaceChildren(...news.details.flatMap(([name, words]) => [make("dt", {}, name), make("dd", {}, words)]));
    reasons = news.disabled;
    for (const [name, node] of buttons) {
      node.setAttribute("aria-disabled", name in reasons);
      node.title = reasons[name] ?? "";
    }
    buttons.get("hexadecimal").setAttribute("aria-pressed", news.hexadecimal);
    buttons.get("code").setAttribute("aria-pressed", news.code !== null);
    code.hidden = news.code === null;
    code.textContent = news.code ?? "";
    if (document.activeElement === host) mark(active ?? selected);
  }

  const fragment = (id) => svg.querySelector(`:scope > [data-fragment="${CSS.escape(id)}"]`);

  function receive(answer) {
    if (answer.fragments) patch(answer);
    if (!pending.delete(answer.sequence)) {
      if (status.textContent.startsWith("Waiting")) status.textContent = "";
      return; // another view's doing: the picture follows, but only the view that acted speaks
    }
    if (answer.alert) {
      reason.textContent = answer.alert;
      if (!reason.isConnected) alert.append(reason, alertUndo);
    } else if (!answer.refused) alert.replaceChildren();
    if (answer.status || answer.alert) status.textContent = answer.status ?? "";
    else if (status.textContent.startsWith("Waiting")) status.textContent = "Ready.";
  }

  model.on("msg:custom", receive);
  el.append(root);
  send("show");
  return () => model.off("msg:custom", receive);
}

// Returns [node, function that returns the value] for a parameter that Python described.
function control(param) {
  if (param.kind === "choice") {
    const select = make("select", {}, ...param.choices.map((text) => make("option", { value: text }, text)));
    return [make("label", {}, `${param.label} `, select), () => select.value];
  }
  const range = make("input", { type: "range", min: param.low, max: param.low + param.words.length - 1, step: 1, value: param.low });
  const output = make("span", { class: "memlab-value", "aria-hidden": "true" }); // the slider itself tells a screen reader
  const say = () => {
    output.textContent = param.words[range.value - param.low];
    range.setAttribute("aria-valuetext", output.textContent);
  };
  range.addEventListener("input", say);
  say();
  return [make("label", {}, `${param.label} `, range, output), () => Number(range.value)];
}

export default { render };
