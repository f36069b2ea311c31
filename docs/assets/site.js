// Formulas, by the KaTeX beside this file, which only pages with formulas load. Runs again on each page that is shown.
(() => {
  const here = new URL(".", document.currentScript.src);
  let katexLoaded = null;

  function load() {
    katexLoaded ??= new Promise((resolve, reject) => {
      const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("katex/katex.min.css", here) });
      const script = Object.assign(document.createElement("script"), { src: new URL("katex/katex.min.js", here), onload: resolve, onerror: reject });
      document.head.append(style, script);
    });
    return katexLoaded;
  }

  async function render() {
    const formulas = document.querySelectorAll(".arithmatex:not([data-done])");
    if (formulas.length === 0) return;
    await load();
    for (const formula of formulas) {
      const displayMode = formula.textContent.startsWith("\\[");
      formula.dataset.done = "";
      katex.render(formula.textContent.slice(2, -2), formula, { displayMode, throwOnError: false });
    }
  }

  if (window.document$) document$.subscribe(render);
  else document.addEventListener("DOMContentLoaded", render);
})();
