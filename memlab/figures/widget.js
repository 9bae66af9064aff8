// What the browser's halves of the labs' view and of the lessons' panel share: picture.py has it for both, who put it before their own text.

const WAITING = "Waiting for the kernel. If nothing comes, run this cell again.";
const PATIENCE = 4000; // milliseconds without an answer until that is said: a kernel may be at work on a cell, or have been restarted

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Offers text to be kept as a file.
function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

