"use strict";
// Charts are drawn when they come near the screen, so that a page of fifty jobs answers at once.
(function () {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const config = { displayModeBar: false, responsive: true, doubleClick: false, showTips: false };
  const boxes = Array.from(document.querySelectorAll(".chart"));

  function draw(box) {
    if (box.dataset.drawn || !charts[box.id]) return;
    box.dataset.drawn = "yes";
    const chart = charts[box.id];
    Plotly.newPlot(box, chart.data, Object.assign({}, chart.layout), config);
  }

  const watch = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => { watch.unobserve(entry.target); draw(entry.target); }),
    { rootMargin: "400px 0px" });
  boxes.forEach((box) => watch.observe(box));

  // Paper: every chart that can be seen, at the width of A4 without its margins. The window is as wide as it was.
  const visible = (box) => box.offsetParent !== null;
  const paper = (box) => Math.min(box.clientWidth, box.closest("details.job") ? 655 : 690);
  window.addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    boxes.filter(visible).forEach((box) => { draw(box); Plotly.relayout(box, { width: paper(box), autosize: false }); });
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    boxes.filter(visible).forEach((box) => Plotly.relayout(box, { width: null, autosize: true }));
  });

  document.querySelectorAll("button.copy").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = document.getElementById(button.dataset.copies);
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch (refused) {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  });
})();
