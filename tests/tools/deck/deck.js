// Runs in every deck: makes each slide's contents as large as the slide allows, then hands over to reveal.js.
// What it may shrink, and how far, is in deck.css: everything there that depends on --fit.

/* global Reveal, RevealNotes */
(async () => {
  const WIDTH = 1280, HEIGHT = 720, MARGIN = 40, SMALLEST = 0.4, STEP = 0.02;

  const fits = (slide) => {
    const wide = [...slide.querySelectorAll("pre, table, svg, .katex-display")].some((e) => e.getBoundingClientRect().right > WIDTH - MARGIN);
    return !wide && slide.scrollHeight <= HEIGHT;
  };

  document.body.classList.add("measuring"); // all slides laid out, one below the other, all frames of a lab in one place
  document.body.getBoundingClientRect(); // so that the browser knows which fonts it needs
  await document.fonts.ready;
  for (const slide of document.querySelectorAll(".slide")) {
    for (let fit = 1; fit >= SMALLEST; fit -= STEP) {
      slide.style.setProperty("--fit", fit.toFixed(2));
      if (fits(slide)) break;
    }
  }
  document.body.classList.remove("measuring");

  if (/print-pdf/.test(location.search)) { // reveal.js would copy all frames for each frame's page: give each a slide instead
    for (const lab of document.querySelectorAll(".frames")) {
      const slide = lab.closest(".slide");
      const alone = (frame) => {
        const copies = [slide, lab.parentElement, lab].map((element) => element.cloneNode(false));
        frame.classList.remove("fragment");
        copies.reduce((outer, inner) => (outer.append(inner), inner)).append(frame);
        return copies[0];
      };
      slide.replaceWith(...[...lab.children].map(alone));
    }
  }

  Reveal.initialize({
    width: WIDTH, height: HEIGHT, margin: 0, minScale: 0.1, maxScale: 8, center: false, transition: "none", hash: true,
    slideNumber: "c/t", pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
  });
})();
